"""
The predecessor from PyPI, 0.8.17, in a virtual environment of its own, with its default settings.

Configured by two YAML files in its home folder, started by its two commands in the foreground.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.errors import CannotRunError, WrongAnswerError
from benchmarks.subjects.base import Looker, Web
from benchmarks.trees import Tree
from benchmarks.web import until

VERSION = "0.8.17"
_PACKAGES = [
    *(
        f"fustor-{name}=={VERSION}"
        for name in ("fusion", "agent", "source-fs", "view-fs", "sender-http", "receiver-http")
    ),
    "watchdog==6.0.0",
]
_FUSION = """\
host: 127.0.0.1
port: {http}
receivers:
  bench: {{driver: http, bind_host: 127.0.0.1, port: {receiver}, api_keys: [{{key: push, pipe_id: bench}}]}}
views:
  bench: {{driver: fs, api_keys: [view]}}
pipes:
  bench: {{receiver: bench, views: [bench]}}
"""
_AGENT = """\
sources:
  bench: {{driver: fs, uri: {root}}}
senders:
  bench: {{driver: fusion, uri: "http://127.0.0.1:{receiver}", credential: {{key: push}}}}
pipes:
  bench: {{source: bench, sender: bench}}
"""


def place() -> Path:
    """Where its virtual environment is, or goes."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "fustor-bench" / f"predecessor-{VERSION}"


def install() -> None:
    """
    Make the virtual environment, if it is not there yet.

    Raises:
        CannotRunError: pip failed.
    """
    folder = place()
    if (folder / "ready").exists():
        return
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *_PACKAGES],
    ):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise CannotRunError(f"{' '.join(command)}:\n{done.stdout}")
    (folder / "ready").touch()


class Predecessor:
    """One Fusion and one agent of it."""

    name = f"fustor {VERSION}"
    http = True

    def __init__(self) -> None:
        self.web: Web | None = None
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def missing(self) -> str:
        """Whether it is installed."""
        return "" if (place() / "ready").exists() else "not installed: bin/bench --install-predecessor"

    def start(self, tree: Tree, folder: Path) -> None:
        """Fusion, and when it answers the agent."""
        http, receiver = _free_ports(2)
        for name, text in (("fusion", _FUSION), ("agent", _AGENT)):
            (folder / f"{name}-config").mkdir(parents=True)
            values = {"http": http, "receiver": receiver, "root": json.dumps(tree.root)}
            (folder / f"{name}-config" / "default.yaml").write_text(text.format(**values))
        self.web = Web(("127.0.0.1", http), "/api/v1/views/bench/tree", {"X-API-Key": "view"})
        self._spawn("fusion", folder)
        until(lambda: _listens(http) and _listens(receiver), "the predecessor's Fusion to listen", 60, 0.02)
        self._spawn("agent", folder)

    def _spawn(self, name: str, folder: Path) -> None:
        with open(folder / f"{name}.out", "wb") as log:
            self._processes[name] = subprocess.Popen(
                [place() / "bin" / f"fustor-{name}", "start"],
                env={**os.environ, "FUSTOR_HOME": str(folder)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_complete(self, tree: Tree) -> None:
        """When its statistics count every entry; the root is one of them."""
        assert self.web is not None
        with self.web.connect() as connection:

            def count() -> int:
                for name, process in self._processes.items():
                    if process.poll() is not None:
                        raise WrongAnswerError(f"its {name} has ended with {process.returncode}")
                answer = connection.ask("/api/v1/views/bench/stats")
                return int(answer.json["item_count"]) if answer.status == 200 else 0

            patience = 120 + tree.files / 1e6 * 600
            until(lambda: count() >= tree.entries + 1, f"{tree.entries + 1} entries", patience, 0.05)
            if (found := count()) != tree.entries + 1:
                raise WrongAnswerError(f"{found} entries, not {tree.entries + 1}")

    def stop(self) -> None:
        """SIGTERM; SIGKILL for what is still there after ten seconds."""
        self.web = None
        for name in ("agent", "fusion"):
            process = self._processes.pop(name, None)
            if process is None:
                continue
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def pids(self) -> dict[str, int]:
        """Two."""
        return {name: process.pid for name, process in self._processes.items()}

    def looker(self) -> AbstractContextManager[Looker]:
        """Over HTTP."""
        assert self.web is not None
        return self.web.looker()

    def directory(self, path: str) -> int:
        """Over HTTP."""
        assert self.web is not None
        return len(self.web.node(path, max_depth=1)["children"])

    def files_below(self, path: str) -> int:
        """It has no cheaper question than a listing."""
        assert self.web is not None
        return self.web.files_listed(path)


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True
