"""Bundles as query workers give them to agents."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from actors.query.answer import Answer
from actors.query.bundles import Bundles

DIGEST = b"0123456789abcdef" * 4
CONTENT = os.urandom(700_000)


@pytest.fixture
def bundles(tmp_path: Path) -> Bundles:
    (tmp_path / f"{DIGEST.decode()}.bundle").write_bytes(CONTENT)
    return Bundles(str(tmp_path), 1e12)


async def read(answer: Answer) -> bytes:
    pieces: list[bytes] = []

    async def send(data: bytes) -> None:
        pieces.append(data)

    assert not isinstance(answer.body, bytes)
    await answer.body.write(send)
    answer.close()
    answer.close()
    return b"".join(pieces)


@pytest.mark.parametrize("offset", [0, 1, 699_999, 700_000])
async def test_from_an_offset_on(bundles: Bundles, offset: int) -> None:
    answer = bundles.ask({"digest": DIGEST, "offset": b"%d" % offset})
    assert answer.headers.fields["X-Fustor-Size"] == "700000"
    assert await read(answer) == CONTENT[offset:]


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"digest": b"f" * 64},
        {"digest": b"../" + DIGEST},
        {"digest": DIGEST.upper()},
        {"digest": DIGEST, "offset": b"-1"},
        {"digest": DIGEST, "offset": b"x"},
    ],
)
def test_what_is_not_there_or_no_digest_is_404(bundles: Bundles, params: dict[str, bytes]) -> None:
    assert bundles.ask(params).status == 404
    assert Bundles("", 1.0).ask({"digest": DIGEST}).status == 404
