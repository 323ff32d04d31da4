"""
What an answer is, whichever way it travels. No I/O, no policy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import attrs

#: Takes the next piece of a body and returns when there is room for another one.
Send = Callable[[bytes], Awaitable[None]]


class Stream(Protocol):
    """A body too long to be held whole. Either written once, or closed without."""

    async def write(self, send: Send) -> None:
        """Hand the body to ``send`` piece by piece. Whatever is raised means: the body is not whole."""

    def close(self) -> None:
        """Release what is held for a body that nobody wants. Harmless at any time, also twice."""


@attrs.define(eq=False)
class HeaderBlock:
    """
    The freshness headers.

    Attributes:
        lines: as HTTP header lines, each with its line end.
    """

    lines: bytes

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> HeaderBlock:
        """From names and values; values are ASCII without line ends."""
        return cls(b"".join(b"%s: %s\r\n" % (k.encode(), v.encode("ascii")) for k, v in fields.items()))

    @property
    def fields(self) -> dict[str, str]:
        """By name, as text."""
        lines = self.lines.decode("ascii").split("\r\n")[:-1]
        return {name: value for name, _, value in (line.partition(": ") for line in lines)}


#: For answers that are about no view.
NO_HEADERS = HeaderBlock(b"")


@attrs.define(eq=False)
class Answer:
    """
    Attributes:
        status: 200, 304, 400, 401, 403, 404; never 5xx.
        body: the body, or how to get it.
        headers: how fresh the answer is.
        etag: weak entity tag with its quotes; empty for none.
        content_type: of the body.
        is_unknown: it says that nothing is known of the path in a view that is there.
    """

    status: int
    body: bytes | Stream
    headers: HeaderBlock = NO_HEADERS
    etag: str = ""
    content_type: str = "application/json"
    is_unknown: bool = False

    def close(self) -> None:
        """Release a body that will not be sent."""
        if not isinstance(self.body, bytes):
            self.body.close()


class Later:
    """
    An answer that has to be waited for.

    Args:
        wait: returns it, after a bounded time.
    """

    def __init__(self, wait: Callable[[], Awaitable[Answer]]) -> None:
        self.wait = wait
