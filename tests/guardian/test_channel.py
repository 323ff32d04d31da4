"""The channel over a real socketpair."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator

import pytest

from fustor.guardian.channel import MAX_PACKET, Channel


@pytest.fixture
def pair() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.settimeout(30)
    channel = Channel(ours)
    yield channel, theirs
    channel.close()
    theirs.close()


def test_packets_go_both_ways(pair: tuple[Channel, socket.socket]) -> None:
    channel, other = pair
    assert channel.receive() is None
    other.send(b"one")
    other.send(b"two")
    assert [channel.receive(), channel.receive(), channel.receive()] == [b"one", b"two", None]
    channel.send({"re": 1, "text": "ä"})
    assert json.loads(other.recv(1000)) == {"re": 1, "text": "ä"}


def test_nothing_is_lost_or_reordered_when_nobody_reads(pair: tuple[Channel, socket.socket]) -> None:
    channel, other = pair
    for number in range(1000):
        channel.send({"re": number})
    assert channel.blocked
    received = []
    for _ in range(1000):
        received.append(json.loads(other.recv(1000))["re"])
        channel.flush()
    assert received == list(range(1000))
    assert not channel.blocked


def test_the_end_is_an_empty_packet(pair: tuple[Channel, socket.socket]) -> None:
    channel, other = pair
    other.send(b"last")
    other.close()
    assert [channel.receive(), channel.receive()] == [b"last", b""]


def test_a_reader_that_died_takes_what_waits_with_it(pair: tuple[Channel, socket.socket]) -> None:
    channel, other = pair
    for number in range(1000):
        channel.send({"re": number})
    other.close()
    channel.flush()
    assert not channel.blocked
    assert channel.receive() == b""
    channel.send({"re": 1})
    assert not channel.blocked


def test_the_end_is_told_even_if_the_reader_left_packets_unread(pair: tuple[Channel, socket.socket]) -> None:
    channel, other = pair
    channel.send({"re": 1})
    other.close()  # with unread data: ECONNRESET here, not end of file
    assert channel.receive() == b""


def test_a_packet_above_the_limit_is_cut(pair: tuple[Channel, socket.socket]) -> None:
    channel, other = pair
    other.send(b"x" * (MAX_PACKET + 1))
    assert channel.receive() == b"x" * MAX_PACKET
    other.send(b"next")
    assert channel.receive() == b"next"


def test_what_waits_is_sent_by_the_channel_of_another_program(pair: tuple[Channel, socket.socket]) -> None:
    channel, other = pair
    sent = 0
    while not channel.blocked:
        channel.send({"number": sent})
        sent += 1
    waiting = channel.waiting()
    assert [json.loads(packet) for packet in waiting] == [{"number": sent - 1}]
    again = Channel(socket.socket(fileno=os.dup(channel.fileno())), waiting)
    assert again.blocked
    for number in range(sent):
        assert json.loads(other.recv(1000)) == {"number": number}
        again.flush()
    assert not again.blocked
    again.close()
