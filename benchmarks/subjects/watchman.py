"""
Watchman (Debian package ``watchman``), over its unix socket with its JSON protocol, one PDU a line.

It has no HTTP, and its answers are flat lists. Questions for attributes are asked without synchronisation, as ours are;
those for new files with it, which is its fastest way to see them (https://facebook.github.io/watchman/docs/cookies).
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.errors import WrongAnswerError
from benchmarks.subjects.base import Looker, Web
from benchmarks.trees import Tree
from benchmarks.web import until

_FIELDS = ["name", "type", "size", "mtime_ns", "ctime_ns", "ino", "mode", "uid", "gid", "nlink"]
_PATIENCE = 900.0


class Watchman:
    """One server with one watched root."""

    name = "watchman"
    http = False
    web: Web | None = None

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._root = ""

    def missing(self) -> str:
        """Whether the command is there."""
        return "" if shutil.which("watchman") else "not installed: apt-get install watchman"

    def start(self, tree: Tree, folder: Path) -> None:
        """The server; the watch is what makes it read the tree."""
        folder.mkdir(parents=True)
        place = folder / "sock"
        command = ["watchman", "--foreground", f"--sockname={place}", f"--logfile={folder / 'log'}"]
        command += [f"--statefile={folder / 'state'}", f"--pidfile={folder / 'pid'}"]
        self._server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(place.exists, "watchman's socket", 30, 0.01)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_PATIENCE)
        self._socket.connect(str(place))
        self._root = tree.root
        self.ask("watch", self._root)

    def ask(self, *command: Any) -> dict[str, Any]:
        """One command and its answer. Raises WrongAnswerError: it is an error."""
        found = json.loads(self.ask_bytes(*command))
        if "error" in found:
            raise WrongAnswerError(f"watchman: {found['error']}")
        return dict(found)

    def ask_bytes(self, *command: Any) -> bytes:
        """The answer as it comes; the last byte is its newline."""
        assert self._socket is not None
        self._socket.sendall(json.dumps(command).encode() + b"\n")
        pieces: list[bytes] = []
        while not pieces or not pieces[-1].endswith(b"\n"):
            piece = self._socket.recv(1 << 20)
            if not piece:
                raise WrongAnswerError("watchman closed the connection")
            pieces.append(piece)
        return b"".join(pieces)

    def wait_complete(self, tree: Tree) -> None:
        """The first query is answered when the crawl is done. Cookies may be among the entries, so count by suffix."""
        found = self.ask("query", self._root, {"fields": ["name"], "sync_timeout": int(_PATIENCE * 1000)})
        names = [name for name in found["files"] if ".watchman-cookie" not in name]
        if len(names) != tree.entries:
            raise WrongAnswerError(f"{len(names)} entries, not {tree.entries}")

    def stop(self) -> None:
        """Through its own command."""
        if self._server is None:
            return
        if self._socket is not None:
            self._socket.close()
        self._server.terminate()
        try:
            self._server.wait(20)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server = self._socket = None

    def pids(self) -> dict[str, int]:
        """One."""
        assert self._server is not None
        return {"watchman": self._server.pid}

    @contextmanager
    def looker(self) -> Iterator[Looker]:
        """A synchronised query for the name."""

        def look(path: str) -> bool:
            # "path" walks that entry alone; without it the expression is tried on every file there is.
            query = {"path": [path], "expression": "exists", "fields": ["name"]}
            return bool(self.ask("query", self._root, query)["files"])

        yield look

    def whole(self) -> bytes:
        """Everything with all attributes, as it comes."""
        return self.ask_bytes("query", self._root, {"fields": _FIELDS, "sync_timeout": 0})

    def directory(self, path: str) -> int:
        """The direct children of a directory, with all attributes."""
        query = {"path": [{"path": path, "depth": 0}], "fields": _FIELDS, "sync_timeout": 0}
        return len(self.ask("query", self._root, query)["files"])

    def files_below(self, path: str) -> int:
        """A listing of names."""
        query = {"path": [path], "expression": ["allof", "exists", ["type", "f"]], "fields": ["name"]}
        return len(self.ask("query", self._root, query)["files"])
