"""
The zip file of a bundle (APPNOTE.TXT 6.3), of which there is exactly one for each content: members stored without
compression, in the order given, with a fixed time and mode, and nothing before, between or after them.

So any zip program reads it, and reading needs no decompressor that a stranger's bytes could reach. Every header is
compared with the one that would have been written: what is accepted has no duplicates, links, comments, gaps, hidden or
overlapping parts, and is as large as it says.

What this module does not do: know what the members mean, or bound their number (the caller's ``most``).
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import attrs

from protocols.errors import BundleError, MachineError

#: Bytes that are held at once while a member is read.
BLOCK = 1 << 20
#: Bytes of the name of a member.
NAME_BYTES = 1024

#: 1980-01-01 00:00, the beginning of the calendar of zip files.
_TIME, _DATE = 0, 0x21
#: Version 1.0 is needed; made by 2.0 on unix, whose file modes then count.
_NEEDED, _MADE_BY = 10, 3 << 8 | 20
#: A regular file, readable by everybody.
_ATTRIBUTES = 0o100444 << 16

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")


@attrs.frozen
class Member:
    """
    Attributes:
        name: its path.
        size: in bytes.
        crc: CRC-32 of its content, as its headers say.
        offset: where its header begins.
    """

    name: str
    size: int
    crc: int
    offset: int

    def local(self) -> bytes:
        """The header before its content."""
        name = self.name.encode("ascii")
        return _LOCAL.pack(
            b"PK\3\4", _NEEDED, 0, 0, _TIME, _DATE, self.crc, self.size, self.size, len(name), 0
        ) + name  # fmt: skip

    def central(self) -> bytes:
        """Its entry in the directory."""
        name = self.name.encode("ascii")
        return _CENTRAL.pack(
            b"PK\1\2", _MADE_BY, _NEEDED, 0, 0, _TIME, _DATE, self.crc, self.size, self.size, len(name), 0, 0, 0, 0,
            _ATTRIBUTES, self.offset
        ) + name  # fmt: skip

    @property
    def begin(self) -> int:
        """Where its content begins."""
        return self.offset + _LOCAL.size + len(self.name)

    @property
    def end(self) -> int:
        """The byte after its content."""
        return self.begin + self.size


def _end(count: int, size: int, offset: int) -> bytes:
    return _END.pack(b"PK\5\6", 0, 0, count, count, size, offset, 0)


def pack(members: Iterable[tuple[str, bytes]]) -> bytes:
    """The file with these members, in this order; names are ASCII."""
    parts, directory, offset = [], [], 0
    for name, content in members:
        member = Member(name, len(content), zlib.crc32(content), offset)
        parts += [member.local(), content]
        directory.append(member.central())
        offset = member.end
    whole = b"".join(directory)
    return b"".join([*parts, whole, _end(len(directory), len(whole), offset)])


class Archive:
    """
    A file that :func:`pack` could have made: all headers are read and compared, contents are not looked at yet.

    Args:
        file: seekable; it stays the caller's.
        most: members that are accepted.

    Attributes:
        members: by name, in the order of the file.

    Raises:
        BundleError: it is no such file; says at which byte.
        MachineError: it can't be read.
    """

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file = file
        self.members: dict[str, Member] = {}
        size = file.seek(0, os.SEEK_END)
        if size < _END.size:
            raise BundleError(f"not a bundle: {size} bytes are too few")
        end = self._at(size - _END.size, _END.size)
        magic, *_, count, length, _, _ = _END.unpack(end)
        if magic != b"PK\5\6":
            is_zip = self._at(0, 4) == b"PK\3\4"
            why = "it is truncated or goes on after its end" if is_zip else "it is another kind of file"
            raise BundleError(f"not a bundle: {why} (no end record at byte {size - _END.size})")
        if count > most:
            raise BundleError(f"not a bundle: {count} members, at most {most} are accepted")
        begin = size - _END.size - length
        fits = 0 <= begin < 1 << 32 and length <= count * (_CENTRAL.size + NAME_BYTES)
        if not fits or end != _end(count, length, begin):
            raise BundleError(f"not a bundle: the end record at byte {size - _END.size} is damaged")
        self._read_directory(self._at(begin, length), begin, count)

    def _read_directory(self, directory: bytes, begin: int, count: int) -> None:
        place, expected = 0, 0
        for _ in range(count):
            where = f"not a bundle: the directory is damaged at byte {begin + place}"
            try:
                fields = _CENTRAL.unpack_from(directory, place)
                crc, size, length = fields[7], fields[8], fields[10]
                name = directory[place + _CENTRAL.size : place + _CENTRAL.size + length].decode("ascii")
            except (struct.error, UnicodeDecodeError):
                raise BundleError(where) from None
            member = Member(name, size, crc, expected)
            central = member.central()
            if not 0 < length <= NAME_BYTES or directory[place : place + len(central)] != central:
                raise BundleError(where)
            if name in self.members:
                raise BundleError(f"not a bundle: {name!r} is in it twice")
            place += len(central)
            expected = member.end
            if expected > begin:
                raise BundleError(f"{where}: {name!r} is larger than the file")
            local = member.local()
            if self._at(member.offset, len(local)) != local:
                raise BundleError(f"not a bundle: the header of {name!r} at byte {member.offset} is damaged")
            self.members[name] = member
        if place != len(directory) or expected != begin:
            raise BundleError(f"not a bundle: there is something between its members and byte {begin + place}")

    def _at(self, offset: int, size: int) -> bytes:
        try:
            self._file.seek(offset)
            return self._file.read(size)
        except OSError as error:
            name = getattr(self._file, "name", "the bundle")
            raise MachineError(f"{name} can't be read at byte {offset}: {error.strerror}") from error

    def blocks(self, name: str) -> Iterator[bytes]:
        """
        The content of a member, in blocks; only when all were taken it is known to be whole.

        Raises:
            BundleError: it is not the content that was written, or the file has become shorter.
            MachineError: it can't be read.
        """
        member = self.members[name]
        place, crc = member.begin, 0
        while place < member.end:
            block = self._at(place, min(BLOCK, member.end - place))
            if not block:
                raise BundleError(f"{name}: the file ends within it, at byte {place}")
            place += len(block)
            crc = zlib.crc32(block, crc)
            yield block
        if crc != member.crc:
            raise BundleError(f"{name}: its content is damaged (bytes {member.begin} to {member.end})")

    def read(self, name: str, largest: int) -> bytes:
        """
        The whole content of a member.

        Raises:
            BundleError: there is no such member, it is larger than ``largest``, or damaged.
            MachineError: it can't be read.
        """
        member = self.members.get(name)
        if member is None:
            raise BundleError(f"not a bundle: there is no {name} in it")
        if member.size > largest:
            raise BundleError(f"{name}: {member.size} bytes, at most {largest} are accepted")
        return b"".join(self.blocks(name))
