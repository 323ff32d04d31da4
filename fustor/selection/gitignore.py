"""
Patterns in the language of gitignore(5), each translated to one RE2 expression, so that matching takes time linear in
the path whatever the pattern.

A pattern is matched against a path itself, not against what lies above it: whoever walks a tree decides at each
directory whether to enter it, and git does the same. Compared with ``git check-ignore``; where git departs from its own
manual (``a**/b``), the manual holds.

What this module does not do: read files, or know what a match is good for.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import re2


@attrs.frozen
class Pattern:
    """One line: ``negated`` by a leading ``!``, for directories only with a trailing ``/``."""

    expression: re2._Regexp[str]
    negated: bool
    directories_only: bool


class GitIgnore:
    """
    A list of patterns, of which the last one that matches decides.

    Args:
        lines: as in a gitignore file.

    Raises:
        ValueError: one of them is no pattern; says why.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        # The last one first: that is the order in which they are asked.
        self._patterns = tuple(reversed([pattern for pattern in map(parse, lines) if pattern is not None]))

    def decide(self, path: str, is_directory: bool) -> bool | None:
        """True: matched; False: a ``!`` pattern says that it is not; None: nothing is said of this path."""
        for pattern in self._patterns:
            if (is_directory or not pattern.directories_only) and pattern.expression.fullmatch(path):
                return not pattern.negated
        return None

    def covers(self, path: str, is_directory: bool) -> bool:
        """Whether ``path`` or a directory above it is matched, the highest one first."""
        end = path.find("/")
        while end >= 0:
            if self.decide(path[:end], True):
                return True
            end = path.find("/", end + 1)
        return bool(self.decide(path, is_directory))


def parse(line: str) -> Pattern | None:
    """
    One line; None for an empty one or a comment.

    Raises:
        ValueError: it is no pattern; says why.
    """
    text = _without_trailing_spaces(line)
    if not text or text.startswith("#"):
        return None
    negated = text.startswith("!")
    text = text[negated:]
    directories_only = text.endswith("/")
    body = text[:-1] if directories_only else text
    anchored = "/" in body
    body = body.removeprefix("/")
    if not body:
        raise ValueError("it names nothing")
    segments = body.split("/")
    expression = "" if anchored else "(?:.*/)?"
    for place, segment in enumerate(segments):
        last = place == len(segments) - 1
        if segment == "**" and anchored:
            expression += ".+" if last else "(?:.+/)?"
        else:
            expression += _glob(segment) + ("" if last else "/")
    options = re2.Options()
    options.log_errors = False
    options.dot_nl = True
    try:
        return Pattern(re2.compile(expression, options), negated, directories_only)
    except re2.error:
        raise ValueError("a character class is malformed, or the whole is too long") from None


def _without_trailing_spaces(line: str) -> str:
    bare = line.rstrip(" ")
    backslashes = len(bare) - len(bare.rstrip("\\"))
    return bare + " " if backslashes % 2 and bare != line else bare


def _glob(segment: str) -> str:
    """The expression of what stands between two slashes."""
    expression, at = "", 0
    while at < len(segment):
        character = segment[at]
        at += 1
        if character == "*":
            expression += "[^/]*"
            at += len(segment[at:]) - len(segment[at:].lstrip("*"))
        elif character == "?":
            expression += "[^/]"
        elif character == "[":
            members, at = _class(segment, at)
            expression += members
        else:
            if character == "\\":
                if at == len(segment):
                    raise ValueError("a backslash at the end of a part escapes nothing")
                character = segment[at]
                at += 1
            expression += re2.escape(character)
    return expression


def _class(segment: str, at: int) -> tuple[str, int]:
    """The class that begins after the ``[`` before ``at``; where it ends. It never matches a slash."""
    negated = segment[at : at + 1] in ("!", "^")
    at += negated
    members, first = "", at
    while True:
        if at >= len(segment):
            raise ValueError("a '[' without its ']'")
        if segment[at] == "]" and at > first:
            return (f"[^/{members}]" if negated else f"[{members}]"), at + 1
        if segment.startswith("[:", at) and ":]" in segment[at:]:
            end = segment.index(":]", at) + 2
            members += segment[at:end]
            at = end
            continue
        low, at = _member(segment, at)
        high = low
        if segment[at : at + 1] == "-" and segment[at + 1 : at + 2] not in ("", "]"):
            high, at = _member(segment, at + 1)
        members += _range(low, high)


def _member(segment: str, at: int) -> tuple[str, int]:
    at += segment[at] == "\\"
    if at >= len(segment):
        raise ValueError("a '[' without its ']'")
    return segment[at], at + 1


def _range(low: str, high: str) -> str:
    if low > high:
        raise ValueError(f"the range {low}-{high} is empty")
    if low <= "/" <= high:
        return (_range(low, ".") if low < "/" else "") + (_range("0", high) if high > "/" else "")
    return f"{re2.escape(low)}-{re2.escape(high)}"
