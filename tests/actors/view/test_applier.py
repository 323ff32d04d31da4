"""Batches to a real store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.view.applier import Applier
from actors.view.forbidden import Forbidden
from fustor.runtime.handling import SIZE, Handling, take
from fustor.treestore.writer import Writer
from protocols.codec import decode, encode, pack
from protocols.data import Ack, Batch, Item, Names, Root, Watermark
from protocols.errors import DecodeError, ProtocolError
from tests.treestore.scenario import SOURCE, file_row, tree_of

USER = ("agent", "agent")


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    made = Writer(str(tmp_path / "store"), [SOURCE], map_size=1 << 26)
    yield made
    made.close()


@pytest.fixture
def applier(writer: Writer) -> Applier:
    return Applier(writer, [SOURCE], writer.counters)


def item(number: int, *, epoch: int = 1) -> list[bytes]:
    """The first of an epoch declares the root, each other makes one file."""
    if number == 1:
        return [encode(Item.of(epoch, 1, [Root(1)])), b""]
    return [encode(Item.of(epoch, number, [Names(1, ())])), pack([[file_row(b"f%d" % number)]])]


def batch(first: int, last: int, *, epoch: int = 1, agent: str = "agent", source: str = "data") -> list[bytes]:
    head = Batch(agent=agent, source=source, epoch=epoch, first=first, count=last - first + 1)
    return [encode(head), *[frame for number in range(first, last + 1) for frame in item(number, epoch=epoch)]]


def apply(applier: Applier, frames: list[bytes]) -> int:
    """How many items were applied."""
    return len(list(applier.apply(USER, frames)))


def files(writer: Writer) -> set[bytes]:
    writer.commit()
    return set(tree_of(writer)) - {b""}


def test_batches_apply_in_order_and_once(applier: Applier, writer: Writer) -> None:
    assert apply(applier, batch(1, 3)) == 3
    assert apply(applier, batch(1, 3)) == 0
    assert apply(applier, batch(6, 7)) == 0
    assert apply(applier, batch(2, 5)) == 2
    assert files(writer) == {b"/f2", b"/f3", b"/f4", b"/f5"}
    assert apply(applier, batch(1, 2, epoch=2)) == 2
    assert apply(applier, batch(6, 6)) == 0
    counters = writer.counters
    assert (counters["duplicates"], counters["gaps"], counters["stale"], counters["items"]) == (1, 1, 1, 7)


def test_acks_tell_the_position(applier: Applier, writer: Writer) -> None:
    apply(applier, batch(1, 3))
    writer.commit()
    ((topic, message),) = applier.acks()
    assert topic == b"agent/data"
    assert decode(message, Ack) == Ack(agent="agent", source="data", store=writer.uuid, epoch=1, applied=3)


@pytest.mark.parametrize(
    ("user", "frames"),
    [
        (("agent", "other"), batch(1, 1)),
        (("operator", "agent"), batch(1, 1)),
        (USER, batch(1, 1, source="unknown")),
        (USER, batch(1, 2)[:-1]),
        (USER, [encode(Batch(agent="agent", source="data", epoch=0, first=1, count=1)), b"", b""]),
        (USER, [b"rubbish"]),
    ],
)
def test_what_is_no_batch_for_us_is_refused(
    applier: Applier, writer: Writer, user: tuple[str, str], frames: list[bytes]
) -> None:
    with pytest.raises(ProtocolError):
        list(applier.apply(user, frames))
    assert writer.counters["refused"] == 1
    assert writer.position(0) == (0, 0)


def test_an_item_that_cannot_be_read_is_passed_over(applier: Applier, writer: Writer) -> None:
    frames = batch(1, 5)
    frames[3] = b"\xc1"  # item 2 is no message
    frames[5] = item(9)[0]  # item 3 says it is another
    frames[8] = b"\xc1"  # the rows of item 4
    assert apply(applier, frames) == 5
    assert files(writer) == {b"/f5"}
    assert writer.position(0) == (1, 5)
    with pytest.raises(DecodeError):
        decode(frames[3], Item)


def marked(number: int, *, epoch: int = 1, missing: int = 0) -> list[bytes]:
    """A batch of one item, which claims that everything is there."""
    head = Batch(agent="agent", source="data", epoch=epoch, first=number, count=1, missing=missing)
    mark = Watermark(5, "live", complete=True)
    return [encode(head), encode(Item.of(epoch, number, [mark])), pack([])]


def claims(writer: Writer) -> tuple[str, bool, tuple[str, ...]]:
    writer.commit()
    with writer.reader().snapshot() as snapshot:
        source = snapshot.status().sources[0]
    return source.state, source.complete, source.reasons


LACKING = ("degraded", False, ("1 quarantined items are missing (fustor quarantine list)",))


def test_a_quarantined_item_is_passed_over_and_nothing_is_claimed(writer: Writer) -> None:
    applier = Applier(writer, [SOURCE], writer.counters, forbidden=Forbidden.of(["agent/data 1 3"], []))
    assert apply(applier, batch(1, 5)) == 5
    assert files(writer) == {b"/f2", b"/f4", b"/f5"}
    assert writer.counters["quarantined"] == 1
    apply(applier, marked(6))
    assert claims(writer) == LACKING
    # Another epoch brings everything anew, under other numbers.
    apply(applier, batch(1, 3, epoch=2))
    apply(applier, marked(4, epoch=2))
    assert claims(writer) == ("live", True, ())
    assert b"/f3" in files(writer)


def test_what_the_sender_left_out_is_not_claimed(applier: Applier, writer: Writer) -> None:
    apply(applier, batch(1, 2))
    apply(applier, marked(3, missing=1))
    assert claims(writer) == LACKING


def test_what_was_released_is_asked_for_by_going_back(writer: Writer) -> None:
    apply(Applier(writer, [SOURCE], writer.counters), batch(1, 3))
    applier = Applier(writer, [SOURCE], writer.counters, forbidden=Forbidden.of([], ["agent/data 1 2"]))
    apply(applier, marked(4))
    assert claims(writer) == LACKING, "it is still missing"
    assert decode(applier.acks()[0][1], Ack).applied == 0
    apply(applier, batch(1, 2, epoch=2))
    writer.commit()
    assert decode(applier.acks()[0][1], Ack).applied == 2


def test_the_item_in_hand_is_written_down(writer: Writer, tmp_path: Path) -> None:
    page = bytearray(SIZE)
    applier = Applier(writer, [SOURCE], writer.counters, Handling(page))
    noted = []
    for _ in applier.apply(USER, batch(1, 2)):
        (tmp_path / "note").write_bytes(page)
        noted.append(take(str(tmp_path / "note")))
    assert noted == [(b"agent/data 1 1", b""), (b"agent/data 1 2", b"")]
