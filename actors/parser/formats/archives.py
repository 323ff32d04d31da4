"""
Archives: what is in a zip or tar file, and what a gzip file says of itself, by the modules of the standard library.

Nothing is unpacked to a disk; a compressed tar is read through, within bounds.
"""

from __future__ import annotations

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from protocols.parsing import MOST_CHARACTERS

#: Bytes of a block of a tar file.
_BLOCK = 512
#: Names that are told.
_NAMES = 64


class _Bounded:
    """A file of which not more than so many bytes can be read."""

    def __init__(self, file: Any, most: int) -> None:
        self._file = file
        self._left = most
        self._tail = b""

    def read(self, size: int) -> bytes:
        """Some bytes; none at the end, or at the bound."""
        data: bytes = self._file.read(max(0, min(size, self._left)))
        self._left -= len(data)
        if data:
            self._tail = data[-_BLOCK:]
        return data

    @property
    def is_spent(self) -> bool:
        """The bound was reached."""
        return self._left <= 0

    @property
    def is_ended(self) -> bool:
        """What was read last are the zeros that end an archive (tar(5))."""
        return not self._tail.strip(b"\0")


def read(file: BinaryIO, *, most_entries: int = 100_000, most_bytes: int = 256 << 20) -> Mapping[str, Any]:
    """
    ``format`` (``zip``, ``tar``, ``tar.gz``, ``gzip``); how many ``entries`` there are, ``bytes`` they have unpacked,
    the first ``names``, and whether that is all of it (``complete``).

    Args:
        most_entries: that are looked at.
        most_bytes: that are unpacked of a compressed tar.

    Raises:
        ValueError: it is no archive, or a damaged one.
    """
    start = file.read(512)
    file.seek(0)
    try:
        if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return _zip(file, most_entries)
        if start.startswith(b"\x1f\x8b"):
            return _gzip(file, most_entries, most_bytes)
        if start[257:262] == b"ustar":
            return _tar(file, "tar", most_entries, 1 << 62)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    raise ValueError("neither zip nor gzip nor tar")


def _zip(file: BinaryIO, most: int) -> Mapping[str, Any]:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    seen = entries[:most]
    return {
        "format": "zip",
        "entries": len(entries),
        "bytes": sum(entry.file_size for entry in seen),
        "names": [_shown(entry.filename) for entry in seen[:_NAMES]],
        "complete": len(seen) == len(entries),
    }


def _gzip(file: BinaryIO, most: int, most_bytes: int) -> Mapping[str, Any]:
    with gzip.GzipFile(fileobj=file) as unpacked:
        inside = unpacked.read(512)[257:262] == b"ustar"
    file.seek(0)
    if inside:
        with gzip.GzipFile(fileobj=file) as unpacked:
            return _tar(unpacked, "tar.gz", most, most_bytes)
    file.seek(-4, 2)
    # The last member's length modulo 2**32 (RFC 1952): what there is without unpacking it.
    return {"format": "gzip", "entries": 1, "bytes": int.from_bytes(file.read(4), "little"), "complete": True}


def _tar(file: Any, kind: str, most: int, most_bytes: int) -> Mapping[str, Any]:
    bounded = _Bounded(file, most_bytes)
    entries = size = 0
    names: list[str] = []
    complete = False
    with tarfile.open(fileobj=bounded, mode="r|") as archive:  # type: ignore[call-overload]
        for entry in _members(archive, bounded):
            if entry is None:
                complete = True
                break
            entries += 1
            size += entry.size
            if len(names) < _NAMES:
                names.append(_shown(entry.name))
            if entries >= most:
                break
    return {"format": kind, "entries": entries, "bytes": size, "names": names, "complete": complete}


def _members(archive: tarfile.TarFile, bounded: _Bounded) -> Iterator[tarfile.TarInfo | None]:
    """The entries; None after the last one, unless the bound was reached before."""
    try:
        while (entry := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # it keeps them all
            yield entry
    except tarfile.ReadError:
        if not bounded.is_spent:
            raise
        return
    if not bounded.is_spent:
        if not bounded.is_ended:
            raise ValueError("it is cut off")
        yield None


def _shown(name: str) -> str:
    return name.encode("utf-8", "replace").decode()[:MOST_CHARACTERS]
