"""Real tree stores for the tests, and an independent model of what must be answered about them."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable
from typing import Any

from fustor.treestore.environment import boottime_ns
from fustor.treestore.writer import SourceSpec, Writer
from protocols.codec import pack
from protocols.data import Item, Listing, Operation, Root, Row, Watermark

#: A directory is a mapping of names, anything else is its row without the name.
Tree = dict[bytes, Any]

DIRECTORY = (0o040755, 4096, 1_700_000_000_123_456_789, 1_700_000_001_000_000_000, 7, 1000, 1000, 2)


def file_row(size: int = 10, ino: int = 99) -> tuple[int, ...]:
    return (0o100644, size, 1_700_000_002_500_000_000, 1_700_000_003_000_000_000, ino, 0, 0, 1)


def link_row(target: bytes) -> tuple[Any, ...]:
    return (0o120777, len(target), 5, 6, 8, 0, 0, 1, target)


class Build:
    """Writes trees as items, as a watcher and its scanners would report them."""

    def __init__(self, path: str, sources: tuple[tuple[str, str, str], ...] = (("agent", "data", "/"),)) -> None:
        self.path = path
        self.sources = sources
        self._numbers = itertools.count(1)

    def write(
        self,
        tree: Tree | None,
        *,
        state: str | None = "live",
        complete: bool = True,
        index: int = 0,
        clock: Callable[[], int] = boottime_ns,
        epoch: int = 1,
        unlisted: frozenset[bytes] = frozenset(),
        reasons: tuple[str, ...] = (),
    ) -> None:
        """One epoch with all of ``tree``, its watermark, and a clean end; those in ``unlisted`` are not listed."""
        specs = [SourceSpec(i, *source) for i, source in enumerate(self.sources)]
        writer = Writer(self.path, specs, map_size=1 << 30, clock=clock)
        number = 0

        def apply(ops: list[Operation], rows: list[list[Row]]) -> None:
            nonlocal number
            number += 1
            writer.begin()
            writer.apply(index, Item.of(epoch, number, ops), pack(rows))

        if tree is not None:
            ids = itertools.count(2)
            apply([Root(1)], [])
            todo: list[tuple[int, bytes, Tree]] = [(1, b"", tree)]
            while todo:
                here, name, content = todo.pop()
                if name in unlisted:
                    continue
                rows: list[Row] = []
                known: list[int] = []
                for child in sorted(content):
                    value = content[child]
                    rows.append((child, *(DIRECTORY if isinstance(value, dict) else value)))
                    if isinstance(value, dict):
                        known.append(next(ids))
                        todo.append((known[-1], child, value))
                apply([Listing(here, b"", None, (b"", *DIRECTORY), tuple(known))], [rows])
        if state is not None:
            apply([Watermark(1_700_000_010_000_000_000, state, complete, reasons, {"directories": 3})], [])
        if writer.open:
            writer.commit()
        writer.close()


TYPES = {0o04: "directory", 0o10: "file", 0o12: "symlink"}


def readable(raw: bytes) -> str:
    """U+FFFD for each bad byte, by decoding byte by byte, as far from the code under test as can be."""
    return "".join("\ufffd" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in raw.decode("utf-8", "surrogateescape"))


def is_text(raw: bytes) -> bool:
    return "\ufffd" not in readable(raw) or ("\ufffd".encode() in raw and raw.decode("utf-8", "ignore").encode() == raw)


def expected_node(
    path: bytes,
    value: Any,
    depth: int | None = None,
    *,
    only_path: bool = False,
    unlisted: frozenset[bytes] = frozenset(),
) -> dict[str, Any]:
    """The node at ``path`` as fs/tree must show it."""
    name = path.rpartition(b"/")[2]
    row: tuple[Any, ...] = DIRECTORY if isinstance(value, dict) else value
    mode, size, mtime, ctime, ino, uid, gid, nlink = row[:8]
    node: dict[str, Any] = {"name": readable(name), "content_type": TYPES[mode >> 12], "path": readable(path or b"/")}
    if not is_text(name):
        node["name_b64"] = base64.urlsafe_b64encode(name).decode()
    if not is_text(path):
        node["path_b64"] = base64.urlsafe_b64encode(path).decode()
    if not only_path:
        node |= {
            "size": size,
            "modified_time": mtime / 1e9,
            "created_time": ctime / 1e9,
            "integrity_suspect": False,
            "mtime_ns": mtime,
            "ctime_ns": ctime,
            "ino": ino,
            "mode": mode,
            "uid": uid,
            "gid": gid,
            "nlink": nlink,
        }
        if len(row) > 8:
            node["target"] = readable(row[8])
            if not is_text(row[8]):
                node["target_b64"] = base64.urlsafe_b64encode(row[8]).decode()
    if isinstance(value, dict) and depth != 0 and name not in unlisted:
        below = None if depth is None else depth - 1
        children = [
            expected_node(path + b"/" + child, value[child], below, only_path=only_path, unlisted=unlisted)
            for child in value
        ]
        node["children"] = children
    return sorted_node(node)


def sorted_node(node: dict[str, Any]) -> dict[str, Any]:
    """Children in one order, all the way down."""
    if "children" in node:
        children = [sorted_node(child) for child in node["children"]]
        node = {**node, "children": sorted(children, key=lambda c: (c["path"], c.get("path_b64", "")))}
    return node


EXTRAS = [
    "view",
    "generation",
    "as_of",
    "age",
    "state",
    "complete",
    "sources",
    "known",
    "rollup",
    "job_id",
    "job_pending",
]  # what only the first node of an answer has


def without_extras(node: dict[str, Any]) -> dict[str, Any]:
    """The node as the model has it."""
    assert not [name for name in EXTRAS if name not in node]
    return sorted_node({name: value for name, value in node.items() if name not in EXTRAS})


def every_name() -> Tree:
    """Files and directories with every byte but NUL and the slash, and other names that broke others."""
    odd = [bytes([b]) for b in range(1, 256) if b not in b"/."]
    odd += [b"a" + bytes([b]) + b"z" for b in range(1, 256) if b != 0x2F]
    odd += [b'"', b'\\"', b"\\", b"\\u0001", b"\x01/", b'","size":1,"', b'{"name":"', b"\n\n", b"-", b" ", b"..."]
    odd = [name.replace(b"/", b"!") for name in odd]
    odd += [b"n" * 255, b"\xff" * 255, "ü".encode() * 127, "\u2028".encode(), "\ufffd".encode(), "😀".encode()]
    odd += [b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", "é".encode() + b"\xe9"]
    odd = sorted(set(odd))
    files: Tree = {name: file_row(size=n) for n, name in enumerate(odd)}
    below: Tree = {
        name: {b"f": file_row(), name: file_row(3), b"sub": {b"\xfe": link_row(b"to\xff" + name)}} for name in odd
    }
    return {b"files": files, b"below": below, b"empty": {}, b"link": link_row(b'a "target"\n')}
