"""
What a watcher and the parsers of its source say to each other, and what an attribute is.

A *parser* is one rule of a source, and a process of its own. It gets the directories that it is to look at from the
watcher, one work at a time, and answers with what it has found, which the watcher numbers like everything else::

    parser  → watcher    PUSH  [ParserHello], [Parsed]
    watcher → parser     PUSH  [ParserWork]

A hello is repeated every :data:`HELLO_SECONDS`, so it does not matter who of both is started when, and a work that was
lost comes again.

*Attributes* of a file are a flat JSON object: ``{"<parser>.<key>": value}``. The dot is what makes them safe in a row
of the tree store, where no other key has one.

What this module does not do: parse, or keep anything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from protocols.codec import message, record
from protocols.data import Attributes
from protocols.errors import ProtocolError

#: Seconds between two hellos.
HELLO_SECONDS = 2.0

#: Keys of one parser's attributes, without its name.
KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
#: Attributes of one file by one parser; characters of a text; elements of a list; bytes of the JSON text.
MOST_KEYS, MOST_CHARACTERS, MOST_ELEMENTS, MOST_BYTES = 64, 1024, 256, 64 << 10
#: The key under which a parser says why it has found nothing.
ERROR = "error"


@message("parser-hello")
class ParserHello:
    """
    A parser is there.

    Attributes:
        parser: its name.
        incarnation: other with each start.
        rules: a digest of all that decides what it finds; with another one it is given every directory anew.
        epoch, taken: of the last work that it has got; 0 for none.
    """

    parser: str
    incarnation: str
    rules: str
    epoch: int
    taken: int


@record
class ParserDir:
    """
    A directory to look at.

    Attributes:
        dir: the watcher's id.
        path: below the root, without a leading slash; empty for the root.
        names: that may have changed; None: all of it.
    """

    dir: int
    path: bytes
    names: tuple[bytes, ...] | None


@message("parser-work")
class ParserWork:
    """
    Directories for a parser, to be looked at in order.

    Attributes:
        incarnation: of the parser.
        epoch: of the watcher.
        number: grows within an epoch.
        dirs: what to look at.
    """

    incarnation: str
    epoch: int
    number: int
    dirs: tuple[ParserDir, ...]


@message("parsed")
class Parsed:
    """
    What a parser has found.

    Attributes:
        parser, incarnation: who.
        epoch, number: of the work.
        parts: of directories, each as in :class:`protocols.data.Attributes`, all of this parser.
        last: the work is done.
    """

    parser: str
    incarnation: str
    epoch: int
    number: int
    parts: tuple[Attributes, ...]
    last: bool


def cache_name(parser: str) -> str:
    """Of the folder, in the state of a source, in which a parser keeps what it has read."""
    return f"parser.{parser}"


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MOST_CHARACTERS
    if isinstance(value, bool) or value is None:
        return True
    if isinstance(value, int):
        return -(1 << 63) <= value < 1 << 63
    return isinstance(value, float) and math.isfinite(value)


def check_attributes(found: Mapping[str, Any]) -> None:
    """
    Raises:
        ProtocolError: ``found`` (keys without the parser's name) are no attributes; says which and why.
    """
    if len(found) > MOST_KEYS:
        raise ProtocolError(f"{len(found)} attributes: at most {MOST_KEYS} of a file are accepted")
    for key, value in found.items():
        if not isinstance(key, str) or not KEY.fullmatch(key):
            raise ProtocolError(f"attribute {key!r:.80}: a name of up to 64 letters, digits and '_' is accepted")
        if isinstance(value, list | tuple):
            if len(value) > MOST_ELEMENTS or not all(map(_is_plain, value)):
                raise ProtocolError(
                    f"attribute {key}: at most {MOST_ELEMENTS} numbers and texts are accepted in a list"
                )
        elif not _is_plain(value):
            accepted = f"a truth value, a number of 64 bits, or a text of at most {MOST_CHARACTERS} characters"
            raise ProtocolError(f"attribute {key}: {accepted} is accepted, or a list of these")
