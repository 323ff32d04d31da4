"""
All that a watcher knows, in a file: written when it is stopped, read once by the next one, which then goes on in the
same epoch with the same inotify instance instead of walking the tree again.

The file is of use only together with that instance, which is kept meanwhile (``fustor.runtime.leaving``); a nonce says
that both are of the same moment. It need not survive the host, so nothing is synced. It is in the byte order of the
host: a number of the format, a digest of the rest, then sections, each with its length.

What this module does not do: keep the instance, or decide when.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from actors.watcher.core import Rest
from actors.watcher.links import HardLinks
from actors.watcher.table import COLUMNS, DirTable
from protocols.codec import Limits, pack, unpack
from protocols.errors import DecodeError

#: Raised whenever what is in the file changes: one of another program is not read.
FORMAT = 1
_START = struct.Struct("8sI32s")
_MAGIC = b"fustorwc"
_LENGTH = struct.Struct("Q")
#: Of the section that is not an array. What changes at the same time is bounded by the limits of the watcher.
_HEAD = Limits(size=1 << 30, items=1 << 26, depth=0, text=1 << 20)
_PLAIN = ("epoch", "number", "applied", "reached", "began", "audited", "works", "crossed", "mount", "fstype")


def write(path: Path, rest: Rest, nonce: str, source: str, works: dict[str, int]) -> None:
    """
    Write the file, whole or not at all.

    Args:
        rest: what there is to know.
        nonce: names the moment.
        source: says what is watched, and by which rules.
        works: parser → number of its last work.

    Raises:
        OSError: it can't be written.
    """
    temporary = unfinished(path)
    digest = hashlib.blake2b(digest_size=32)
    try:
        with open(temporary, "wb", opener=_private) as file:
            file.write(_START.pack(_MAGIC, FORMAT, b""))
            for section in _sections(rest, nonce, source, works):
                view = memoryview(section).cast("B")
                for part in (_LENGTH.pack(len(view)), view):
                    digest.update(part)
                    file.write(part)
            file.seek(0)
            file.write(_START.pack(_MAGIC, FORMAT, digest.digest()))
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def unfinished(path: Path) -> Path:
    """What a watcher that was killed while it wrote may have left beside the file."""
    return path.with_suffix(".new")


def take(path: Path, nonce: str, source: str) -> tuple[Rest, dict[str, int]]:
    """
    What is in the file, and the numbers of the last works of parsers. The file is gone afterwards, whatever it was.

    Raises:
        OSError: there is none, or it can't be read.
        ValueError: it is damaged, of another format or moment, or of something else.
    """
    with path.open("rb") as file:
        path.unlink()
        data = memoryview(file.read())
    try:
        magic, number, digest = _START.unpack_from(data)
        content = data[_START.size :]
        if (magic, number) != (_MAGIC, FORMAT) or hashlib.blake2b(content, digest_size=32).digest() != digest:
            raise ValueError(f"format {FORMAT}, undamaged, is accepted")
        sections = _split(content)
        head: dict[str, Any] = unpack(next(sections), _HEAD)
        if (head["nonce"], head["source"]) != (nonce, source):
            raise ValueError("it is of another moment, or of another source")
        rest = _rest(head, sections)
        return rest, {str(name): int(last) for name, last in head["parsers"]}
    except (struct.error, StopIteration, KeyError, TypeError, IndexError, DecodeError) as error:
        raise ValueError(f"not a checkpoint: {error!r}") from None


# -- parts ----------------------------------------------------------------------------------------------------------


def _sections(rest: Rest, nonce: str, source: str, works: dict[str, int]) -> Iterator[bytes | array[int]]:
    plain = {name: getattr(rest, name) for name in _PLAIN}
    sets = {name: tuple(getattr(rest, name)) for name in ("unwatched", "removed", "queued")}
    maps = {
        "failed": tuple(rest.failed.items()),
        "dirty": tuple(rest.dirty.items()),
        "news": tuple((name, rules, at, tuple(due.items())) for name, (rules, at, due) in rest.news.items()),
        "parsers": tuple(works.items()),
    }
    yield pack({**plain, **sets, **maps, "nonce": nonce, "source": source})
    for name in COLUMNS:
        yield getattr(rest.table, name)
    yield from _texts(rest.table.name)
    places = list(rest.links)
    yield array("I", [index for (index, _), _ in places])
    yield array("Q", [ino for _, ino in places])
    yield from _texts([name for (_, name), _ in places])
    yield array("Q", [number for number, _, _ in rest.items])
    yield from _texts([part for _, *parts in rest.items for part in parts])


def _texts(texts: list[bytes]) -> Iterator[bytes | array[int]]:
    yield array("I", map(len, texts))
    yield b"".join(texts)


def _split(content: memoryview) -> Iterator[memoryview]:
    at = 0
    while at < len(content):
        (length,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size
        if length > len(content) - at:
            raise ValueError("a section is cut off")
        yield content[at : at + length]
        at += length


def _rest(head: dict[str, Any], sections: Iterator[memoryview]) -> Rest:
    columns = {name: _numbers(code, next(sections)) for name, code in COLUMNS.items()}
    table = DirTable.of(columns, _read_texts(sections))
    links = HardLinks(1 << 31)
    indexes, inos, names = _numbers("I", next(sections)), _numbers("Q", next(sections)), _read_texts(sections)
    for index, ino, name in zip(indexes, inos, names, strict=True):
        links.note((index, name), ino)
    numbers, parts = _numbers("Q", next(sections)), _read_texts(sections)
    return Rest(
        **{name: head[name] for name in _PLAIN},
        **{name: head[name] for name in ("unwatched", "removed", "queued")},
        failed=dict(head["failed"]),
        dirty=dict(head["dirty"]),
        news={name: (rules, at, dict(due)) for name, rules, at, due in head["news"]},
        items=list(zip(numbers, parts[::2], parts[1::2], strict=True)),
        table=table,
        links=links,
    )


def _numbers(code: str, section: memoryview) -> array[int]:
    made = array(code)
    made.frombytes(section)
    return made


def _read_texts(sections: Iterator[memoryview]) -> list[bytes]:
    lengths, joined = _numbers("I", next(sections)), next(sections).tobytes()
    texts, at = [], 0
    for length in lengths:
        texts.append(joined[at : at + length])
        at += length
    if at != len(joined):
        raise ValueError("texts of other lengths")
    return texts


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
