from __future__ import annotations

from typing import Any

import attrs
import pytest

from protocols import data, messages
from protocols.codec import decode, encode, pack
from protocols.errors import DecodeError

EXAMPLES: tuple[Any, ...] = (
    messages.Login(agent="a", epoch=3, nonce="n", software="1", sources=("data", "more")),
    messages.LoginReply(
        outcome="accepted",
        nonce="n",
        epoch=3,
        reason="",
        heartbeat_ms=500,
        endpoints=(messages.Endpoints("data", "tcp://h:1", "tcp://h:2", "key"),),
    ),
    messages.Heartbeat(
        agent="a",
        epoch=3,
        seq=9,
        rtt_us=80,
        payloads=(messages.PayloadStatus("w", "running", 7, 1, "signal 9", {"c": 1}, {"g": 2}, {"f": "x"}),),
    ),
    messages.HeartbeatReply(outcome="ok", seq=9, epoch=3),
    messages.Goodbye(agent="a", epoch=3, reason="stop"),
    messages.Order(
        id="0123456789", number=3, what="kill", payload="w", args={"signal": "9"}, ttl_ms=5, epoch=1, beat=2, by="a"
    ),
    messages.OrderResult(agent="a", epoch=1, id="0123456789", state="done", text="t", data={"pid": 3}),
    messages.Fetch(id="0123456789", epoch=1, offset=5),
    messages.Chunk(agent="a", epoch=1, id="0123456789", offset=0, total=3, data=b"abc"),
    messages.Happenings(agent="a", epoch=1, happenings=(messages.Happening(1, 2, "w", "exit", "t", "e"),)),
    messages.WantDocument(agent="a", epoch=1, revision=7),
    messages.Document(epoch=1, revision=7, text=b"sources = []"),
    messages.AdminRequest(request="r", op="status", args={"x": (1, {"y": None}), "b": b"\xff"}),
    messages.AdminReply(request="r", ok=False, error="no"),
    messages.Hello(name="n", token="t", pid=1, software="1", revision=4),
    messages.Beat(name="n", token="t", pid=1, revision=4, state="running", counters={"c": 1}, facts={"f": "x"}),
    messages.Welcome(incarnation="i", beat_ms=50),
    messages.Configure(revision=5, config={"source": {"root": "/x", "scanners": 2}, "limits": {}}),
    messages.Stop(deadline_ms=1),
    messages.TreeRequest(request="r", op="tree", path=b"/\xff", params={"max_depth": "1"}),
    messages.TreeReply(request="r", status=200, part=0, last=True, headers={"ETag": "x"}),
    data.Work(
        epoch=1, number=2, tasks=(data.Task(3, b"p/\xff", 4, 5, (b"a", b"b"), (b"c",), (6, 7)), data.Task(1, b"", 0, 0))
    ),
    data.Found(
        slot=0,
        epoch=1,
        number=2,
        results=(
            data.Result(
                3, data.OK, 0, (b"", 1, 2), 4, 5, b"", None, True, True, ((b"d", 6, 7),), (b"g",), ((b"l", 8),)
            ),
        ),
        last=True,
    ),
    data.Stuck(slot=0, epoch=1, number=2, dir=3, name=b"x"),
    data.Unstuck(slot=0, epoch=1, dir=3, name=b"x"),
    data.Item.of(1, 1, [data.Root(1), data.Watermark(5, "live", True, ("why",), {"directories": 3})]),
    data.Batch(agent="a", source="s", epoch=1, first=2, count=3),
    data.Ack(agent="a", source="s", store="u", epoch=1, applied=2),
    data.SyncerHello(incarnation="i"),
    data.Applied(incarnation="i", store="u", epoch=1, applied=2),
)


def test_there_is_an_example_of_every_kind() -> None:
    kinds = {c for module in (messages, data) for c in vars(module).values() if hasattr(c, "_wire_fields")}
    assert kinds == {type(example) for example in EXAMPLES}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.kind)
def test_round_trip(example: Any) -> None:
    assert decode(encode(example), type(example)) == example


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.kind)
def test_a_missing_field_is_named(example: Any) -> None:
    cls = type(example)
    required = [f.name for f in attrs.fields(cls) if f.default is attrs.NOTHING]
    if not required:
        assert decode(pack({"v": 1, "t": cls.kind}), cls) == cls()
        return
    with pytest.raises(DecodeError, match=rf"^{cls.kind}\.{required[0]}: missing$"):
        decode(pack({"v": 1, "t": cls.kind}), cls)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.kind)
def test_messages_do_not_change(example: Any) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(example, attrs.fields(type(example))[0].name, None)
