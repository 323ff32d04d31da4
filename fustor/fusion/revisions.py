"""
The configurations that are desired, in SQLite: every revision with who, why and when, for each agent and for the fleet.

A revision is a whole document, or the word that there is none from here on. Numbers grow over all agents and are never
used again. Of each agent the last revisions are kept; how many are gone is kept too.

Every method blocks for the disk and is called by one thread at a time, never on a control actor's loop. WAL with full
synchronisation: what was answered is on the disk, and a reader (``sqlite3 revisions.db``) never disturbs.

What this module does not do: read documents, or know agents.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import attrs

from fustor.runtime.document import MOST_BYTES
from protocols.bounds import between
from protocols.errors import MachineError

#: Of the tables; kept as SQLite's ``user_version``.
FORMAT = 1
#: The fleet-wide default, among the names of agents.
DEFAULT = ""

_TABLES = """
CREATE TABLE revisions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL,
    document BLOB,
    digest TEXT NOT NULL,
    author TEXT NOT NULL,
    role TEXT NOT NULL,
    reason TEXT NOT NULL,
    at TEXT NOT NULL
);
CREATE INDEX of_agent ON revisions (agent, number);
CREATE TABLE removed (agent TEXT PRIMARY KEY, count INTEGER NOT NULL);
"""
_COLUMNS = "number, agent, document, digest, author, role, reason, at"


@attrs.frozen
class DesiredLimits:
    """
    Attributes:
        kept: revisions of each agent, and of the default; older ones are removed, and counted.
        document_bytes: of one document.
    """

    kept: int = attrs.field(default=200, validator=between(2, 100_000))
    document_bytes: int = attrs.field(default=MOST_BYTES, validator=between(64, MOST_BYTES))


@attrs.frozen
class Revision:
    """
    Attributes:
        number: over all agents.
        agent: whose; :data:`DEFAULT` for the fleet.
        document: TOML; None: from here on there is none.
        digest: of the document; empty for none.
        author, role: whose key it was.
        reason: why.
        at: when, UTC, ISO 8601.
    """

    number: int
    agent: str
    document: bytes | None
    digest: str
    author: str
    role: str
    reason: str
    at: str


class Revisions:
    """
    Args:
        path: of the database; its folder is there.
        kept: revisions of one agent.

    Raises:
        MachineError: it can't be used: damaged, of a later program, or the disk fails.
    """

    def __init__(self, path: str, kept: int) -> None:
        self.path = path
        self._kept = kept
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._database = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise MachineError(f"{path} can't be used: {error}") from error
        try:
            with self._trouble():
                self._begin()
        except MachineError:
            self.close()
            raise

    def _begin(self) -> None:
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version > FORMAT:
            raise MachineError(f"{self.path} has format {version}, up to {FORMAT} is accepted: use the later program")
        (verdict,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise MachineError(f"{self.path} is damaged: {verdict}")
        if version == 0:
            self._database.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {FORMAT}; COMMIT;")

    def add(self, agent: str, document: bytes | None, digest: str, *, author: str, role: str, reason: str) -> Revision:
        """
        A new revision, durably.

        Raises:
            MachineError: it could not be written, and is not there.
        """
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with self._transaction():
            number = self._database.execute(
                "INSERT INTO revisions (agent, document, digest, author, role, reason, at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (agent, document, digest, author, role, reason, at),
            ).lastrowid
            gone = self._database.execute(
                "DELETE FROM revisions WHERE agent = ? AND number <= "
                "(SELECT number FROM revisions WHERE agent = ? ORDER BY number DESC LIMIT 1 OFFSET ?)",
                (agent, agent, self._kept),
            ).rowcount
            if gone:
                self._database.execute(
                    "INSERT INTO removed VALUES (?, ?) "
                    "ON CONFLICT (agent) DO UPDATE SET count = count + excluded.count",
                    (agent, gone),
                )
        assert number is not None  # an INSERT has one
        return Revision(number, agent, document, digest, author, role, reason, at)

    def heads(self) -> list[Revision]:
        """The last revision of each agent, without its document (``document`` is b"" where there is one)."""
        rows = self._rows(
            "SELECT number, agent, CASE WHEN document IS NULL THEN NULL ELSE x'' END, digest, author, role, reason, at "
            "FROM revisions WHERE number IN (SELECT max(number) FROM revisions GROUP BY agent)"
        )
        return [Revision(*row) for row in rows]

    def get(self, number: int) -> Revision | None:
        """One revision; None when there is none of this number (any more)."""
        rows = self._rows(f"SELECT {_COLUMNS} FROM revisions WHERE number = ?", number)
        return Revision(*rows[0]) if rows else None

    def history(self, agent: str) -> tuple[list[Revision], int]:
        """Revisions of one agent, newest first, without documents as in :meth:`heads`; and how many older are gone."""
        rows = self._rows(
            "SELECT number, agent, CASE WHEN document IS NULL THEN NULL ELSE x'' END, digest, author, role, reason, at "
            "FROM revisions WHERE agent = ? ORDER BY number DESC",
            agent,
        )
        removed = self._rows("SELECT count FROM removed WHERE agent = ?", agent)
        return [Revision(*row) for row in rows], removed[0][0] if removed else 0

    def close(self) -> None:
        """Close the database. Idempotent."""
        self._database.close()

    def _rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        with self._trouble():
            return self._database.execute(query, arguments).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._trouble():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise MachineError(f"{self.path} can't be used: {error}") from error
