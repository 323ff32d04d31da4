"""
Search by name: all non-directories below a path whose name contains a text, or whose name or path matches a glob.

Globs are as in fnmatch(3) without flags: ``*`` any characters, slashes too, ``?`` one character, ``[a-z]``, ``[!a-z]``.
They are matched in time linear in the text (RE2), whatever the pattern. Names and paths are matched as they are shown:
with U+FFFD for each byte that is not UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterator

import re2

from actors.query.answer import Answer
from actors.query.body import BodyLimits, Item, make_body
from actors.query.params import SearchQuery
from actors.query.stores import ViewStore
from fustor.treestore.format import head_name, readable, row_name, split_rows, unpack_chunk
from fustor.treestore.reader import Snapshot
from fustor.treestore.render import json_text, render_row
from protocols.errors import RequestError

_MAGIC = frozenset("*?[")


def glob_to_regex(pattern: str) -> str:
    """The regular expression (RE2 syntax) that matches what the glob ``pattern`` matches, and all of it."""
    parts = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*":
            parts.append(".*")
        elif character == "?":
            parts.append(".")
        elif character == "[" and (end := pattern.find("]", at + 1 + (pattern[at : at + 1] == "!"))) > 0:
            inside = pattern[at:end]
            negated = inside.startswith("!")
            inside = inside[negated:].replace("\\", r"\\").replace("[", r"\[").replace("]", r"\]").replace("^", r"\^")
            parts.append(f"[{'^' * negated}{inside}]")
            at = end + 1
        else:
            parts.append(re2.escape(character))
    return "(?s:" + "".join(parts) + r")\z"


class Matcher:
    """
    Decides on names and paths.

    Args:
        pattern: a glob, or a part of a name.

    Raises:
        RequestError: a bracket expression that means nothing (``[z-a]``).
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._regex = None
        #: A text that must stand in the JSON of every name that matches by the name alone; empty for none.
        self.needle = b""
        if _MAGIC.isdisjoint(pattern):
            if "/" not in pattern:
                self.needle = json_text(pattern.encode())
        else:
            options = re2.Options()
            options.log_errors = False
            try:
                self._regex = re2.compile(glob_to_regex(pattern), options=options)
            except re2.error:
                raise RequestError("pattern", pattern, "a glob: * ? [a-z] [!a-z], or a part of the name") from None

    def matches(self, name: str, path: str) -> bool:
        """Whether a node with this name and path is wanted."""
        regex = self._regex
        if regex is not None and (regex.match(name) or regex.match(path)):
            return True
        return self._pattern in name or self._pattern == path


def search(store: ViewStore, query: SearchQuery, limits: BodyLimits) -> Answer:
    """
    The nodes that match, as a JSON list in the order of the tree; at most ``query.limit``.

    Raises:
        RequestError: the pattern is no glob, or the path is not known.
        MachineError: a record of the store is damaged.
    """
    matcher = Matcher(query.pattern)
    lease = store.acquire()
    if lease is None:
        return Answer(200, b"[]", store.nothing().headers)
    kept = False
    try:
        found = lease.snapshot.resolve(query.names)
        headers = lease.face.headers
        if found.matched < len(query.names):
            return Answer(200, b"[]", headers)
        kept = True  # the body takes the lease over
        items = _matching(lease.snapshot, found.id, query, matcher)
        body = make_body(lease, items, _List(), limits)
        return Answer(200, b"".join(body) if isinstance(body, list) else body, headers)
    finally:
        if not kept:
            lease.close()


def _matching(snapshot: Snapshot, store_id: int, query: SearchQuery, matcher: Matcher) -> Iterator[Item]:
    left = query.limit
    raws = [b"".join(b"/" + name for name in query.names[:-1])]
    needle = matcher.needle
    for depth, _, head, chunks in snapshot.walk(store_id):
        if head:
            del raws[depth + 1 :]
            name = head_name(head)
            raws.append(raws[depth] + b"/" + name if name else raws[depth])
        raw = raws[-1]
        shown = readable(raw)
        for chunk in chunks:
            text = unpack_chunk(chunk)
            if needle and needle not in text:
                yield None, 0
                continue
            for row in split_rows(text):
                if needle and needle not in row:
                    continue
                own = readable(row_name(row))
                if matcher.matches(own, f"{shown}/{own}"):
                    node = render_row(row, raw)
                    yield node, len(node)
                    left -= 1
                    if not left:
                        return
            yield None, 0


class _List:
    """Nodes to a JSON list."""

    def __init__(self) -> None:
        self._begun = False

    def feed(self, item: bytes, out: list[bytes]) -> int:
        out.append(b"," if self._begun else b"[")
        out.append(item)
        self._begun = True
        return len(item)

    def end(self, out: list[bytes]) -> None:
        out.append(b"]" if self._begun else b"[]")
