"""What an answer is."""

from __future__ import annotations

import pytest

from actors.query.answer import Answer, HeaderBlock


def test_headers_as_lines() -> None:
    block = HeaderBlock.of({"X-Fustor-State": "live", "X-Fustor-Age": "0.1"})
    assert block.lines == b"X-Fustor-State: live\r\nX-Fustor-Age: 0.1\r\n"
    assert block.fields["X-Fustor-State"] == "live"


def test_headers_are_ascii() -> None:
    with pytest.raises(UnicodeEncodeError):
        HeaderBlock.of({"X-Fustor-View": "ü"})


def test_closing_releases_a_stream_and_leaves_bytes_alone() -> None:
    class Held:
        closed = 0

        async def write(self, send: object) -> None:
            raise AssertionError("nobody wants it")

        def close(self) -> None:
            self.closed += 1

    held = Held()
    Answer(200, held).close()
    assert held.closed == 1
    Answer(200, b"{}").close()
