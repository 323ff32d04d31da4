"""The zip file: any zip program reads it, and nothing but what we would have written is read."""

from __future__ import annotations

import io
import itertools
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fustor.bundle.archive import BLOCK, Archive, pack
from protocols.errors import BundleError

MEMBERS = [("a/b.py", b"x" * 10), ("a/c", b""), ("d", bytes(range(256)))]
#: Bytes of names that zip programs accept.
NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)


def read(data: bytes, most: int = 100) -> list[tuple[str, bytes]]:
    archive = Archive(io.BytesIO(data), most)
    return [(name, archive.read(name, 1 << 20)) for name in archive.members]


def test_there_and_back() -> None:
    assert read(pack(MEMBERS)) == MEMBERS
    assert read(pack([])) == []
    assert pack(MEMBERS) == pack(iter(MEMBERS))


def test_other_programs_read_it() -> None:
    with zipfile.ZipFile(io.BytesIO(pack(MEMBERS))) as other:
        assert other.testzip() is None
        assert [(info.filename, other.read(info)) for info in other.infolist()] == MEMBERS
        assert {info.external_attr >> 16 for info in other.infolist()} == {0o100444}
        assert {info.date_time for info in other.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_large_members_come_in_blocks() -> None:
    content = bytes(3 * BLOCK + 1)
    archive = Archive(io.BytesIO(pack([("x", content)])), 1)
    assert [len(block) for block in archive.blocks("x")] == [BLOCK, BLOCK, BLOCK, 1]
    with pytest.raises(BundleError, match=f"x: {len(content)} bytes, at most 5 are accepted"):
        archive.read("x", 5)
    with pytest.raises(BundleError, match="there is no y in it"):
        archive.read("y", 5)


def test_every_damaged_byte_is_found() -> None:
    data = pack(MEMBERS)
    for place, change in itertools.product(range(len(data)), (0x01, 0x80, 0xFF)):
        damaged = bytearray(data)
        damaged[place] ^= change
        with pytest.raises(BundleError):
            read(bytes(damaged))


def test_every_cut_and_every_addition_is_found() -> None:
    data = pack(MEMBERS)
    for length in range(len(data)):
        with pytest.raises(BundleError):
            read(data[:length])
        with pytest.raises(BundleError):
            read(data[length:] if length else data + b"\0")
        with pytest.raises(BundleError):
            read(data[:length] + b"\0" + data[length:])


def zipped(change: Callable[[zipfile.ZipInfo], None] = lambda info: None, **options: Any) -> bytes:
    """MEMBERS by another program, as much like ours as it can."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **options) as other:
        for name, content in MEMBERS:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.create_version, info.extract_version = 0o100444 << 16, 20, 10
            info.compress_type = options.get("compression", zipfile.ZIP_STORED)
            change(info)
            other.writestr(info, content)
    return out.getvalue()


def test_a_bomb_is_not_even_decompressed() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("x", bytes(50 << 20))
    assert len(out.getvalue()) < 100_000
    with pytest.raises(BundleError, match="the directory is damaged"):
        read(out.getvalue())


def link(info: zipfile.ZipInfo) -> None:
    info.external_attr = 0o120777 << 16


def comment(info: zipfile.ZipInfo) -> None:
    info.comment = b"psst"


def extra(info: zipfile.ZipInfo) -> None:
    info.extra = b"\x99\x99\x00\x00"


def later(info: zipfile.ZipInfo) -> None:
    info.date_time = (2026, 1, 1, 0, 0, 0)


def foreign(info: zipfile.ZipInfo) -> None:
    info.filename = f"ä{info.filename}"


@pytest.mark.parametrize("change", [link, comment, extra, later, foreign])
def test_what_another_program_can_say_more_is_refused(change: Callable[[zipfile.ZipInfo], None]) -> None:
    with pytest.raises(BundleError, match="damaged"):
        read(zipped(change))


def test_a_name_twice_is_refused() -> None:
    with pytest.raises(BundleError, match="'d' is in it twice"):
        read(pack([*MEMBERS, ("d", b"")]))


def test_members_that_overlap_are_refused() -> None:
    """Two entries of the directory for the same bytes, so that little says much."""
    data = pack(MEMBERS[:1])
    length = 46 + len(MEMBERS[0][0])
    directory = data[-22 - length : -22]
    end = pack([("0", b""), ("1", b"")])[-22:-10] + (2 * length).to_bytes(4, "little") + data[-6:]
    with pytest.raises(BundleError, match="directory is damaged"):
        read(data[: -22 - length] + 2 * directory + end)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes are too few"),
        (b"#!/bin/sh\n" * 10, "another kind of file"),
        (bytes(1000), "another kind of file"),
        (pack(MEMBERS)[:-1], "it is truncated"),
        (pack(MEMBERS) + b"more", "goes on after its end"),
        (b"before" + pack(MEMBERS), "the end record at byte"),
    ],
)
def test_other_files_are_called_what_they_are(data: bytes, words: str) -> None:
    with pytest.raises(BundleError, match=f"not a bundle: .*{words}"):
        read(data)


def test_the_number_of_members_is_bounded() -> None:
    assert read(pack(MEMBERS), most=3) == MEMBERS
    with pytest.raises(BundleError, match="3 members, at most 2 are accepted"):
        read(pack(MEMBERS), most=2)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=30)), max_size=5))
def test_what_is_read_is_what_was_written_or_nothing(members: list[tuple[str, bytes]]) -> None:
    names = [name for name, _ in members]
    data = pack(members)
    if len(set(names)) < len(names):
        with pytest.raises(BundleError, match="twice"):
            read(data)
    else:
        assert read(data) == members


@given(st.lists(st.tuples(NAMES, st.binary(max_size=30)), max_size=4), st.data())
def test_hostile_zips_are_ours_or_refused(members: list[tuple[str, bytes]], data: st.DataObject) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))) as other:
        for name, content in {name.replace("/", ""): content for name, content in members}.items():
            info = zipfile.ZipInfo(name or "x")
            info.external_attr = data.draw(st.sampled_from([0o100444, 0o120777, 0o40755])) << 16
            info.extra = data.draw(st.sampled_from([b"", b"\x99\x99\x01\x00!"]))
            other.writestr(info, content)
        other.comment = data.draw(st.sampled_from([b"", b"PK\5\6" + bytes(18)]))
    whole = out.getvalue()
    cut = data.draw(st.integers(0, len(whole)))
    for hostile in (whole, whole[:cut], whole[cut:] + whole, whole + whole[cut:]):
        try:
            found = read(hostile)
        except BundleError:
            continue
        assert pack(found) == hostile
