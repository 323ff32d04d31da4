"""The messages of looks, on the wire and back."""

from __future__ import annotations

from typing import Any

import pytest

from protocols.codec import decode, encode
from protocols.errors import DecodeError
from protocols.looks import DONE, ENDED, LOOKING, REFUSED, WAITING, WHOLE, Enquiry, Findings, Look, Looked


@pytest.mark.parametrize(
    "message",
    [
        Look(id="1", view="main", agent="a", source="s", path=b"x/\xff", depth=3, epoch=7),
        Looked(id="1", agent="a", source="s", state=DONE, epoch=7, directories=2, skipped=1, as_of_ns=1 << 60),
        Enquiry(request="r", what="jobs", view="main"),
        Findings(request="r", rows=({"path": b"\xff", "age": 0.5},)),
    ],
)
def test_each_comes_as_it_went(message: Any) -> None:
    assert decode(encode(message), type(message)) == message


def test_a_look_without_more_is_at_everything_below() -> None:
    assert Look(id="1", view="", agent="", source="", path=b"").depth == WHOLE


def test_a_path_is_bytes() -> None:
    frame = encode(Look(id="1", view="", agent="", source="", path="text"))  # type: ignore[arg-type]
    with pytest.raises(DecodeError, match="path"):
        decode(frame, Look)


def test_only_two_states_are_the_end() -> None:
    assert frozenset({DONE, REFUSED}) == ENDED
    assert not ENDED & {WAITING, LOOKING}
