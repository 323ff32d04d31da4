from __future__ import annotations

import contextlib
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import data, messages
from protocols.codec import CONTROL_LIMITS, VERSION, Limits, decode, encode, message, pack, record, unpack
from protocols.errors import DecodeError, ProtocolError, VersionError


@record
class Point:
    x: int
    y: int
    label: str = ""


@message("test-codec")
class Sample:
    number: int
    text: str = ""
    raw: bytes = b""
    flag: bool = False
    ratio: float = 0.0
    maybe: int | None = None
    either: int | str = 0
    points: tuple[Point, ...] = ()
    pair: tuple[int, str] = (0, "")
    table: dict[str, int] = {}  # noqa: RUF012
    anything: Any = None
    row: tuple[Any, ...] = ()
    nothing: None = None


@message("test-codec-other")
class Other:
    number: int


EVERY_KIND: tuple[Any, ...] = (
    Sample,
    *(cls for module in (messages, data) for cls in vars(module).values() if hasattr(cls, "_wire_fields")),
)

integers = st.integers(-(2**63), 2**64 - 1)
scalars = (
    st.none() | st.booleans() | integers | st.floats(allow_nan=False) | st.text(max_size=50) | st.binary(max_size=50)
)
plain = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5).map(tuple) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)
points = st.builds(Point, integers, integers, st.text(max_size=10))
samples = st.builds(
    Sample,
    number=integers,
    text=st.text(max_size=50),
    raw=st.binary(max_size=50),
    flag=st.booleans(),
    ratio=st.floats(allow_nan=False),
    maybe=st.none() | integers,
    either=integers | st.text(max_size=10),
    points=st.lists(points, max_size=4).map(tuple),
    pair=st.tuples(integers, st.text(max_size=10)),
    table=st.dictionaries(st.text(max_size=10), integers, max_size=4),
    anything=plain,
    row=st.lists(scalars, max_size=9).map(tuple),
)


@given(samples)
def test_round_trip(sample: Sample) -> None:
    # Limits above what the strategies can nest.
    assert decode(encode(sample), Sample, limits=Limits(depth=64)) == sample


@given(plain)
def test_round_trip_of_plain_data(value: object) -> None:
    assert unpack(pack(value), Limits(depth=64)) == value


@given(st.binary(max_size=300))
def test_any_bytes_raise_protocol_errors_only(garbage: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(garbage, *EVERY_KIND)


@given(samples, st.data())
def test_damaged_messages_raise_protocol_errors_only(sample: Sample, draw: st.DataObject) -> None:
    frame = bytearray(encode(sample))
    for _ in range(draw.draw(st.integers(1, 4))):
        frame[draw.draw(st.integers(0, len(frame) - 1))] = draw.draw(st.integers(0, 255))
    with contextlib.suppress(ProtocolError):
        assert isinstance(decode(bytes(frame), Sample), Sample)


@given(st.sampled_from(EVERY_KIND), plain, st.data())
def test_wrong_types_raise_protocol_errors_only(cls: Any, value: object, draw: st.DataObject) -> None:
    fields = {name: value for name in cls._wire_fields if draw.draw(st.booleans())}
    with contextlib.suppress(ProtocolError):
        assert isinstance(decode(pack({"v": VERSION, "t": cls.kind, **fields}), cls), cls)


def wire(**fields: object) -> bytes:
    return pack({"v": VERSION, "t": "test-codec", **fields})


def test_the_wire_form() -> None:
    assert msgpack.unpackb(encode(Other(number=3))) == {"v": VERSION, "t": "test-codec-other", "number": 3}
    assert msgpack.unpackb(encode(Sample(number=1, points=(Point(1, 2),))))["points"] == [[1, 2, ""]]


def test_unknown_fields_are_ignored_and_missing_ones_take_their_default() -> None:
    assert decode(wire(number=1, later="x"), Sample) == Sample(number=1)


def test_a_record_may_be_longer_or_shorter_than_known() -> None:
    assert decode(wire(number=1, points=[[1, 2], [3, 4, "a", "later"]]), Sample).points == (
        Point(1, 2),
        Point(3, 4, "a"),
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "test-codec.number: missing"),
        ({"number": "1"}, "test-codec.number: str where int is accepted"),
        ({"number": True}, "test-codec.number: bool where int is accepted"),
        ({"number": 1.0}, "test-codec.number: float where int is accepted"),
        ({"number": 1, "text": b"x"}, "test-codec.text: bytes where str is accepted"),
        ({"number": 1, "raw": "x"}, "test-codec.raw: str where bytes is accepted"),
        ({"number": 1, "flag": 1}, "test-codec.flag: int where bool is accepted"),
        ({"number": 1, "ratio": True}, "test-codec.ratio: bool where float is accepted"),
        ({"number": 1, "maybe": "x"}, "test-codec.maybe: str is none of the accepted types"),
        ({"number": 1, "points": 3}, "test-codec.points: int where an array is accepted"),
        ({"number": 1, "points": [3]}, "test-codec.points: an array of at least 2 is accepted for Point"),
        ({"number": 1, "points": [[1, "y"]]}, "test-codec.points.y: str where int is accepted"),
        ({"number": 1, "pair": [1]}, "test-codec.pair: an array of 2 is accepted"),
        ({"number": 1, "pair": [1, 2]}, "test-codec.pair: int where str is accepted"),
        ({"number": 1, "table": []}, "test-codec.table: tuple where a map is accepted"),
        ({"number": 1, "table": {"a": "b"}}, "test-codec.table.a: str where int is accepted"),
        ({"number": 1, "row": {}}, "test-codec.row: dict where tuple is accepted"),
        ({"number": 1, "nothing": 0}, "test-codec.nothing: int where nil is accepted"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, object], said: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(wire(**fields), Sample)
    assert str(caught.value) == said


def test_an_integer_is_a_float() -> None:
    ratio = decode(wire(number=1, ratio=2), Sample).ratio
    assert (ratio, type(ratio)) == (2.0, float)


@pytest.mark.parametrize("version", [0, VERSION + 1, "1", None])
def test_another_version_is_told_apart(version: object) -> None:
    with pytest.raises(VersionError, match=f"protocol version {version!r}"):
        decode(pack({"v": version, "t": "test-codec", "number": 1}), Sample)


@pytest.mark.parametrize("kind", ["test-codec-other", "nobody", None, 3, "x" * 10_000])
def test_a_kind_that_may_not_come_here_is_refused(kind: object) -> None:
    with pytest.raises(DecodeError, match="is not accepted here") as caught:
        decode(pack({"v": VERSION, "t": kind, "number": 1}), Sample)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("kind", [[1], {"a": 1}, [[]], ["x", {"y": b""}]])
def test_a_kind_that_is_no_text_is_refused(kind: object) -> None:
    with pytest.raises(DecodeError):
        decode(pack({"v": VERSION, "t": kind}), Sample)


@pytest.mark.parametrize("value", [3, "x", [1], b""])
def test_a_message_is_a_map(value: object) -> None:
    with pytest.raises(DecodeError, match="a message is a map"):
        decode(pack(value), Sample)


def nested(depth: int) -> bytes:
    return b"\x91" * depth + b"\xc0"


@pytest.mark.parametrize("depth", [13, 600, 5_000, 1_000_000])
def test_deep_nesting(depth: int) -> None:
    with pytest.raises(DecodeError):
        unpack(nested(depth))


def test_nesting_up_to_the_limit() -> None:
    unpack(nested(CONTROL_LIMITS.depth))
    with pytest.raises(DecodeError, match="deeper"):
        unpack(nested(CONTROL_LIMITS.depth + 1))
    with pytest.raises(DecodeError, match="deeper"):
        unpack(b"\x81\xa1a" * 13 + b"\xc0")


@pytest.mark.parametrize(
    "frame",
    [
        b"\xdd\xff\xff\xff\xff",  # array of 4 G elements
        b"\xdf\xff\xff\xff\xff",  # map
        b"\xdb\xff\xff\xff\xff",  # text
        b"\xc6\xff\xff\xff\xff",  # binary
        b"\xc9\xff\xff\xff\xff\x01",  # extension
        b"\xdd\x00\x01\x00\x01" + b"\xc0" * 65_537,  # one element too many
        b"\xdb\x00\x10\x00\x01",  # text that is one byte too long
        b"\xd4\x01\x00",  # an extension type
        b"\xd6\xff\x00\x00\x00\x00",  # a timestamp
        b"\xc1",  # never used
        b"\xa2\xff\xff",  # text that is not UTF-8
        b"\x81\x01\x01",  # a map key that is no text
        b"\x01\x01",  # trailing bytes
        b"",
    ],
)
def test_frames_that_are_refused(frame: bytes) -> None:
    with pytest.raises(DecodeError):
        unpack(frame)


def test_the_size_is_checked_first() -> None:
    with pytest.raises(DecodeError, match="message of 11 bytes, at most 10 accepted"):
        unpack(pack(b"123456789"), Limits(size=10))
    assert unpack(memoryview(pack(b"12345678")), Limits(size=10)) == b"12345678"


def test_text_with_bytes_of_a_file_name_in_it_is_escaped() -> None:
    text = b"a\xffb".decode("utf-8", "surrogateescape")
    assert decode(encode(Sample(number=1, text=text)), Sample).text == "a\\udcffb"


def test_what_has_no_wire_form() -> None:
    with pytest.raises(TypeError, match="int is no message"):
        encode(3)
    with pytest.raises(TypeError, match="Point is no message"):
        encode(Point(1, 2))
    with pytest.raises(TypeError, match="object has no wire form"):
        encode(Sample(number=1, anything=object()))


def test_classes_that_can_not_travel_are_refused_when_they_are_made() -> None:
    with pytest.raises(TypeError, match="no wire form"):

        @record
        class Wrong:
            x: list[int]

    with pytest.raises(TypeError, match="'test-codec' is taken by Sample"):

        @message("test-codec")
        class Again:
            x: int
