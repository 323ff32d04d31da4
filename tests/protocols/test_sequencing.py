"""Both ends of the data pipe, alone and against each other over a wire that loses, repeats and forgets."""

from __future__ import annotations

import random

import pytest

from protocols.errors import ProtocolError
from protocols.sequencing import Receiver, SendWindow, Verdict

STORE = "store-1"

# -- receiver -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epoch", "first", "count", "expected"),
    [
        (3, 6, 2, Verdict("apply")),
        (3, 4, 4, Verdict("apply", 2)),
        (3, 1, 5, Verdict("duplicate")),
        (3, 5, 1, Verdict("duplicate")),
        (3, 7, 1, Verdict("gap")),
        (2, 6, 1, Verdict("stale")),
        (4, 1, 9, Verdict("apply")),
        (4, 2, 1, Verdict("gap")),
    ],
)
def test_a_batch_is_judged_by_its_place(epoch: int, first: int, count: int, expected: Verdict) -> None:
    receiver = Receiver(3, 5)
    assert receiver.judge(epoch, first, count) == expected
    assert receiver == Receiver(3, 5)


@pytest.mark.parametrize(("epoch", "first", "count"), [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-1, 1, 1)])
def test_impossible_numbers_are_refused(epoch: int, first: int, count: int) -> None:
    with pytest.raises(ProtocolError):
        Receiver().judge(epoch, first, count)


@pytest.mark.parametrize(("epoch", "number"), [(3, 5), (3, 7), (2, 6), (4, 2)])
def test_only_the_next_item_advances(epoch: int, number: int) -> None:
    receiver = Receiver(3, 5)
    with pytest.raises(ProtocolError):
        receiver.advance(epoch, number)
    assert receiver == Receiver(3, 5)


def test_advance() -> None:
    receiver = Receiver(3, 5)
    receiver.advance(3, 6)
    assert receiver == Receiver(3, 6)
    receiver.advance(9, 1)
    assert receiver == Receiver(9, 1)


# -- sender ---------------------------------------------------------------------------------------------------------


def filled(*numbers: int, size: int = 10) -> SendWindow:
    window = SendWindow(1, max_bytes=100)
    for number in numbers:
        assert window.add(number, (bytes(size - 1), b"x"))
    return window


def sent(window: SendWindow, now: float = 0.0, max_bytes: int = 1000) -> list[int]:
    return [item.number for item in window.next_batch(now, max_bytes) or ()]


def test_items_are_sent_once_in_batches_of_bounded_size() -> None:
    window = filled(1, 2, 3, 4)
    assert sent(window, max_bytes=25) == [1, 2]
    assert sent(window, max_bytes=1) == [3]
    assert sent(window) == [4]
    assert window.next_batch(0.0, 100) is None
    assert (window.bytes, window.waiting) == (40, 4)


def test_an_ack_frees_all_up_to_it() -> None:
    window = filled(1, 2, 3)
    sent(window, max_bytes=20)
    window.on_ack(STORE, 1, 2, 0.1)
    assert (window.applied, window.bytes, window.waiting) == (2, 10, 1)
    assert sent(window) == [3]


def test_the_window_is_full_by_bytes() -> None:
    window = filled(*range(1, 10))
    assert not window.full
    window.add(10, (bytes(10),))
    assert window.full
    window.on_ack(STORE, 1, 1, 0.0)
    assert not window.full


def test_what_is_here_or_applied_is_not_taken_again() -> None:
    window = filled(1, 2)
    assert not window.add(2, (b"",))
    window.on_ack(STORE, 1, 5, 0.0)
    assert not window.add(5, (b"",))
    with pytest.raises(ProtocolError):
        window.add(7, (b"",))


def test_acks_without_progress_send_everything_again() -> None:
    window = filled(1, 2)
    window.on_ack(STORE, 1, 0, 0.0)
    assert sent(window, 10.0) == [1, 2]
    window.on_ack(STORE, 1, 0, 10.9)
    assert sent(window, 10.9) == []
    window.on_ack(STORE, 1, 0, 11.0)
    assert sent(window, 11.0) == [1, 2]
    window.on_ack(STORE, 1, 1, 11.9)
    window.on_ack(STORE, 1, 1, 12.5)
    assert sent(window, 12.5) == []
    window.on_ack(STORE, 1, 1, 13.6)
    assert sent(window, 13.6) == [2]
    assert window.resent == 2


def test_silence_is_no_stall() -> None:
    window = filled(1)
    sent(window, 0.0)
    assert sent(window, 1000.0) == []


def test_another_store_wants_everything_from_its_position_on() -> None:
    window = filled(1, 2, 3)
    sent(window)
    window.on_ack(STORE, 1, 0, 0.0)
    window.on_ack("store-2", 0, 0, 0.1)
    assert sent(window) == [1, 2, 3]


def test_an_item_that_is_wanted_and_gone_leaves_the_window_behind() -> None:
    window = filled(1, 2, 3)
    sent(window)
    window.on_ack(STORE, 1, 2, 0.0)
    assert not window.behind
    window.on_ack("store-2", 0, 0, 0.1)
    assert window.behind
    assert sent(window, 5.0) == []
    window.on_ack(STORE, 1, 3, 0.2)
    assert not window.behind
    window.on_ack("store-3", 0, 0, 0.3)  # nothing is left to be sent
    assert window.behind


def test_acks_of_other_epochs() -> None:
    window = SendWindow(5)
    window.add(1, (b"x",))
    sent(window)
    window.on_ack(STORE, 6, 9, 0.0)
    assert (window.applied, window.waiting, window.store) == (0, 1, "")
    window.on_ack(STORE, 4, 900, 0.0)
    assert (window.applied, window.waiting) == (0, 1)


def test_a_window_may_begin_anywhere() -> None:
    window = SendWindow(1)
    assert window.add(41, (b"x",))
    assert sent(window) == [41]
    window.on_ack(STORE, 1, 40, 0.0)
    assert not window.behind


# -- both -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_every_item_is_applied_once_and_in_order_whatever_the_wire_does(seed: int) -> None:
    chance = random.Random(seed)
    window, receiver = SendWindow(1, max_bytes=200), Receiver()
    applied: list[int] = []
    wire: list[list[int]] = []
    now, added = 0.0, 0
    while len(applied) < 200:
        now += chance.random() * 0.2
        assert now < 2000, "no progress"
        while not window.full and added < 200 and chance.random() < 0.7:
            added += 1
            assert window.add(added, (bytes(chance.randrange(1, 60)),))
        batch = window.next_batch(now, 100)
        if batch:
            wire.append([item.number for item in batch])
        if wire and chance.random() < 0.2:
            wire.pop(chance.randrange(len(wire)))
        if wire and chance.random() < 0.2:
            wire.append(chance.choice(wire))
        if wire and chance.random() < 0.1:
            wire.clear()  # the view died
        if wire and chance.random() < 0.6:
            numbers = wire.pop(0)
            verdict = receiver.judge(1, numbers[0], len(numbers))
            if verdict.outcome == "apply":
                for number in numbers[verdict.skip :]:
                    receiver.advance(1, number)
                    applied.append(number)
        if chance.random() < 0.5:
            window.on_ack(STORE, receiver.epoch, receiver.applied, now)
    assert applied == list(range(1, 201))
