"""
The parameters of a request, checked. Pure: text in, values or a RequestError that names field, value and what is
accepted out. Parameters that are not known are ignored.

Paths are bytes all the way: percent-decoding happens on bytes, and a name that is not valid UTF-8 is asked for by its
percent-encoded bytes or as ``path_b64``.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

import attrs

from protocols.errors import RequestError

#: Linux PATH_MAX is 4096, but a path may be built longer component by component.
_LONGEST_PATH = 1 << 16
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_BOOLEANS = {b"true": True, b"1": True, b"false": False, b"0": False}
_INTEGER = re.compile(rb"[0-9]{1,18}")
_SECONDS = re.compile(rb"[0-9]{1,9}(\.[0-9]{1,9})?")

Params = Mapping[str, bytes]


@attrs.frozen
class Waits:
    """
    Seconds that an answer may wait for a look.

    Attributes:
        default: when nothing is said.
        most: when something is.
        unknown: without having been asked to, where nothing is known of a path; 0: not at all.
    """

    default: float = 5.0
    most: float = 60.0
    unknown: float = 1.0


@attrs.define
class TreeQuery:
    """
    What ``tree`` is asked. It is not changed.

    Attributes:
        names: components of the path; empty for the root.
        depth: levels of children wanted; None for all.
        only_path: name, content_type and path only.
        look: seconds to wait for a look at the path now; None: none is wanted.
        parent: path of the parent, without a slash at its end; empty also for the root.
        key: all of the question, to keep answers by.
    """

    names: tuple[bytes, ...]
    depth: int | None = None
    only_path: bool = False
    look: float | None = attrs.field(default=None, eq=False)
    parent: bytes = attrs.field(init=False, eq=False)
    key: tuple[tuple[bytes, ...], int | None, bool] = attrs.field(init=False, eq=False)

    def __attrs_post_init__(self) -> None:
        names = self.names
        self.parent = b"/" + b"/".join(names[:-1]) if len(names) > 1 else b""
        self.key = names, self.depth, self.only_path

    @property
    def path(self) -> bytes:
        """The path in its one normal form."""
        return b"/" + b"/".join(self.names)

    @property
    def tag(self) -> str:
        """The parameters in an entity tag."""
        return f"{'p' if self.only_path else 'f'}{'' if self.depth is None else self.depth}"


@attrs.frozen
class SearchQuery:
    """Attributes: pattern: glob or part of a name; names: path below which is searched; limit: most results."""

    pattern: str
    names: tuple[bytes, ...]
    limit: int


def split_target(target: bytes) -> tuple[bytes, bytes]:
    """
    Path and query of a request target, both still encoded (RFC 9112 section 3.2: origin form, and the absolute form
    that clients send to proxies).
    """
    if not target.startswith(b"/"):
        _, found, rest = target.partition(b"://")
        if found:
            at = min((i for i in (rest.find(b"/"), rest.find(b"?")) if i >= 0), default=len(rest))
            target = rest[at:]
    target = target.partition(b"#")[0]
    path, _, query = target.partition(b"?")
    return path or b"/", query


def parse_query(query: bytes) -> dict[str, bytes]:
    """
    The parameters of a query string, ``+`` and ``%20`` both a space.

    Raises:
        RequestError: a broken percent escape, or a parameter given twice.
    """
    found: dict[str, bytes] = {}
    for item in query.split(b"&"):
        if not item:
            continue
        name, _, value = item.partition(b"=")
        plain = b"%" not in item and b"+" not in item
        key = (name if plain else unquote_to_bytes(name.replace(b"+", b" "))).decode("utf-8", "replace")
        if not plain and _BAD_ESCAPE.search(item):
            raise RequestError(key, _shown(value), "% is followed by two hexadecimal digits (a literal one is %25)")
        if key in found:
            raise RequestError(key, _shown(value), "given at most once")
        found[key] = value if plain else unquote_to_bytes(value.replace(b"+", b" "))
    return found


def _shown(value: bytes) -> str:
    text = value.decode("utf-8", "replace")
    return text if len(text) <= 200 else text[:200] + "…"


def _boolean(params: Params, name: str, default: bool) -> bool:
    value = params.get(name)
    if value is None:
        return default
    try:
        return _BOOLEANS[value.lower()]
    except KeyError:
        raise RequestError(name, _shown(value), "true, false, 1 or 0") from None


def _integer(params: Params, name: str, default: int | None, least: int, most: int | None = None) -> int | None:
    value = params.get(name)
    if value is None:
        return default
    number = int(value) if _INTEGER.fullmatch(value) else -1
    if number < least or (most is not None and number > most):
        raise RequestError(
            name,
            _shown(value),
            f"an integer from {least}{'' if most is None else f' to {most}'}{' up' * (most is None)}",
        )
    return number


def path_names(path: bytes, field: str = "path") -> tuple[bytes, ...]:
    """
    The components of an absolute path; ``.`` and empty ones are passed over.

    Raises:
        RequestError: not absolute, ``..``, a NUL byte, or longer than any path can be.
    """
    if not path.startswith(b"/"):
        raise RequestError(field, _shown(path), "an absolute path, beginning with /")
    if b"\0" in path:
        raise RequestError(field, _shown(path), "a path without NUL bytes")
    if len(path) > _LONGEST_PATH:
        raise RequestError(field, _shown(path), f"a path of at most {_LONGEST_PATH} bytes")
    names = tuple([name for name in path.split(b"/") if name and name != b"."])
    if b".." in names:
        raise RequestError(field, _shown(path), "a path without .. (resolve it before asking)")
    return names


def _path(params: Params) -> tuple[bytes, ...]:
    encoded = params.get("path_b64")
    if encoded is None:
        return path_names(params.get("path", b"/"))
    if "path" in params:
        raise RequestError("path_b64", _shown(encoded), "either path or path_b64")
    try:
        path = base64.b64decode(encoded + b"=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise RequestError("path_b64", _shown(encoded), "urlsafe base64 of the bytes of a path") from None
    return path_names(path, "path_b64")


def _seconds(params: Params, name: str, default: float, most: float) -> float:
    value = params.get(name)
    if value is None:
        return min(default, most)
    if not _SECONDS.fullmatch(value) or float(value) > most:
        raise RequestError(name, _shown(value), f"seconds from 0 to {most:g}")
    return float(value)


def tree_query(params: Params, waits: Waits = Waits()) -> TreeQuery:
    """
    Parameters of ``tree``: path or path_b64, recursive, max_depth, only_path, on_demand_scan, wait.

    Raises:
        RequestError: one of them is not acceptable.
    """
    recursive = _boolean(params, "recursive", True)
    depth = _integer(params, "max_depth", None, 0)
    if not recursive:
        depth = 1 if depth is None else min(depth, 1)
    wait = _seconds(params, "wait", waits.default, waits.most)
    look = wait if _boolean(params, "on_demand_scan", False) else None
    return TreeQuery(_path(params), depth, _boolean(params, "only_path", False), look)


def search_query(params: Params, most: int, default: int) -> SearchQuery:
    """
    Parameters of ``search``: pattern, path or path_b64, limit.

    Raises:
        RequestError: one of them is not acceptable.
    """
    pattern = params.get("pattern", b"")
    if not pattern or len(pattern) > 1024:
        raise RequestError("pattern", _shown(pattern), "1 to 1024 bytes: a glob on path or name, or a part of the name")
    limit = _integer(params, "limit", min(default, most), 1, most)
    assert limit is not None
    return SearchQuery(pattern.decode("utf-8", "replace"), _path(params), limit)
