"""What a measure may ask of a system under test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import attrs

from benchmarks.errors import WrongAnswerError
from benchmarks.trees import Tree
from benchmarks.web import Connection

#: Tells whether a path below the root is there, in one question.
Looker = Callable[[str], bool]


@attrs.frozen
class Web:
    """
    How a system is asked for trees over HTTP.

    Attributes:
        address: host and port.
        prefix: path of the endpoint.
        headers: needed by every request.
    """

    address: tuple[str, int]
    prefix: str
    headers: Mapping[str, str] = attrs.field(factory=dict)

    def target(self, path: str, **parameters: str | int) -> str:
        """What to ask for; ``path`` is below the root, empty for the root itself."""
        extra = "".join(f"&{name}={value}" for name, value in parameters.items())
        return f"{self.prefix}?path={quote('/' + path)}{extra}"

    def connect(self) -> Connection:
        """A connection that sends the headers."""
        return Connection(self.address, self.headers)

    def node(self, path: str, **parameters: str | int) -> dict[str, Any]:
        """The root node of one answer, on a connection of its own."""
        with self.connect() as connection:
            return connection.node(self.target(path, **parameters))

    def files_listed(self, path: str) -> int:
        """Files that a listing of ``path``, two levels deep, contains; -1 when it is refused for now (503)."""
        with self.connect() as connection:
            answer = connection.ask(self.target(path, max_depth=2, only_path="true"))
        if answer.status == 503:
            return -1
        if answer.status != 200:
            raise WrongAnswerError(f"{path}: {answer.status} {answer.body[:200]!r}")
        return answer.body.count(b'"content_type":"file"')

    @contextmanager
    def looker(self) -> Iterator[Looker]:
        """Asks with the smallest question there is: 200 or 404."""
        with self.connect() as connection:

            def look(path: str) -> bool:
                answer = connection.ask(self.target(path, max_depth=0, only_path="true"))
                if answer.status not in (200, 404):
                    raise WrongAnswerError(f"{path}: {answer.status} {answer.body[:200]!r}")
                return answer.status == 200

            yield look


class Subject(Protocol):
    """
    A system that indexes a tree.

    Attributes:
        name: shown in results.
        http: whether it answers over HTTP.
        web: how it is asked so, while it runs.
    """

    name: str
    http: bool
    web: Web | None

    def missing(self) -> str:
        """Why it can't run here, and what to do; empty when it can."""
        ...

    def start(self, tree: Tree, folder: Path) -> None:
        """Start it with its defaults, keeping its state in ``folder``; returns while it still reads the tree."""
        ...

    def wait_complete(self, tree: Tree) -> None:
        """Return when all of ``tree`` is visible. Raises WrongAnswerError: it claims to be complete, and is not."""
        ...

    def stop(self) -> None:
        """Stop it; nothing when it does not run."""
        ...

    def pids(self) -> dict[str, int]:
        """Its processes by name."""
        ...

    def looker(self) -> AbstractContextManager[Looker]:
        """A way to ask for single paths, kept open."""
        ...

    def directory(self, path: str) -> int:
        """Ask for one directory with the attributes of its children; how many those are."""
        ...

    def files_below(self, path: str) -> int:
        """How many files are visible below ``path``, by the cheapest question; -1: it refuses to say."""
        ...
