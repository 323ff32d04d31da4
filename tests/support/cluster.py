"""
A whole Fustor for a test: ``fustor up --detach`` on a directory, everything as shipped, in a state folder of its own.

Real processes, real sockets. Waiting is always for a condition, with a deadline that fails the test.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs

from tests.support.oracle import Difference, Entry, compare, walk
from tests.support.ports import free_ports
from tests.support.waiting import PATIENCE as PATIENCE
from tests.support.waiting import until as until

CHECKOUT = Path(__file__).resolve().parents[2]
#: Ports of a Fusion, by the key of the first: of one or two views, and some query workers.
_PORTS = {"control": 1, "admin": 1, "http": 1, "data": 4, "query": 8}


@attrs.frozen
class Answer:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class Cluster:
    """
    One Fusion and one agent for ``root``.

    Args:
        root: the directory.
        state: state folder; made if it is not there.
        agent: text that is put behind the ``[[sources]]`` table of agent.toml (patterns, audit periods).
        fusion: text appended to fusion.toml.
        limits: text appended to agent.toml.
        wrapper: a command that runs ``fustor up``, in front of it.
        way: port by which the agent's control actor reaches Fusion; 0: Fusion's own.
        data_way: the first of the two ports by which its data reach a view; 0: the view's own.
        own_ports: those of Fusion are of this test alone, so that nobody takes them while Fusion is away; else those
            that ``up`` chooses.
    """

    def __init__(
        self,
        root: Path,
        state: Path,
        *,
        source: str = "",
        limits: str = "",
        fusion: str = "",
        wrapper: Sequence[str] = (),
        way: int = 0,
        data_way: int = 0,
        own_ports: bool = True,
    ) -> None:
        self.root = root
        self.state = state
        self._wrapper = wrapper
        if source or limits or fusion or way or data_way or own_ports:
            self._prepare(source, limits, fusion, way, data_way, own_ports)
        self.up()

    def command(
        self, *arguments: str, check: bool = True, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``fustor ARGUMENTS``."""
        wrapper = self._wrapper if arguments[0] == "up" else ()
        done = subprocess.run(
            [*wrapper, sys.executable, "-P", "-m", "fustor.admin", *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE * 2,
            env={**os.environ, "FUSTOR_STATE": str(self.state), **(env or {})},
        )
        assert not check or done.returncode == 0, (
            f"fustor {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.logs()}"
        )
        return done

    def _prepare(self, source: str, limits: str, fusion: str, way: int, data_way: int, own_ports: bool) -> None:
        """Write the files as ``up`` does, then add to them."""
        from fustor.admin.prepare import make_folder, prepare
        from fustor.admin.state import State

        state = State(self.state)
        make_folder(state)
        new = not state.exists()
        prepare(state, os.path.realpath(self.root), "")
        agent = self.state / "agent.toml"
        if new and own_ports:
            self._choose_ports(agent, self.state / "fusion.toml")
        text = agent.read_text()
        for line in source.strip().splitlines():
            key = line.split("=")[0].strip()
            text = "\n".join(kept for kept in text.splitlines() if kept.split("=")[0].strip() != key) + "\n"
        if way:
            text = text.replace(f'fusion = "{state.fusion_config()["control"]}"', f'fusion = "tcp://127.0.0.1:{way}"')
        agent.write_text(text.rstrip("\n") + "\n" + source.strip() + "\n\n" + limits.strip() + "\n")
        file = self.state / "fusion.toml"
        text = file.read_text().rstrip("\n") + "\n\n" + fusion.strip() + "\n"
        if data_way:
            text = text.replace("[fusion]\n", f'[fusion]\nadvertise_data = "tcp://127.0.0.1:{data_way}"\n', 1)
        file.write_text(text)

    @staticmethod
    def _choose_ports(agent: Path, fusion: Path) -> None:
        first = free_ports(sum(_PORTS.values()))
        for key, count in _PORTS.items():
            fusion.write_text(re.sub(rf'(?m)^({key} = ".*:)\d+"', rf'\g<1>{first}"', fusion.read_text()))
            if key == "control":
                agent.write_text(re.sub(r'(?m)^(fusion = ".*:)\d+"', rf'\g<1>{first}"', agent.read_text()))
            first += count

    def up(self) -> None:
        """Start, until the first answer."""
        self.command("up", str(self.root), "--state", str(self.state), "--detach")
        config = tomllib.loads((self.state / "fusion.toml").read_text())
        host, _, port = str(config["fusion"]["http"]).rpartition(":")
        self.address = (host, int(port))

    def port(self, key: str) -> int:
        """Where Fusion listens: ``control``, ``data`` …"""
        config = tomllib.loads((self.state / "fusion.toml").read_text())
        return int(str(config["fusion"][key]).rpartition(":")[2])

    def down(self) -> None:
        """Stop, and see that nothing is left."""
        self.command("down", "--state", str(self.state))

    # -- asking -------------------------------------------------------------------------------------------------------

    def get(self, target: str, headers: dict[str, str] | None = None, method: str = "GET") -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE)
        try:
            connection.request(method, target, headers=headers or {})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def tree(self, path: bytes = b"/", **parameters: str | int) -> dict[str, Any]:
        """The answer of fs/tree for ``path``; anything but 200 fails."""
        extra = "".join(f"&{key}={value}" for key, value in parameters.items())
        answer = self.get(f"/fs/tree?path={quote(path)}{extra}")
        assert answer.status == 200, (answer.status, answer.body[:200])
        found: dict[str, Any] = answer.json
        return found

    def source(self) -> dict[str, Any]:
        """What fs/tree says of the source, which it does not know before the view has begun."""
        found: dict[str, Any] = until(lambda: self.tree(max_depth=0)["sources"], "a source")[0]
        return found

    def entries(self) -> dict[bytes, Entry]:
        """The whole tree in the form of the oracle."""
        found: dict[bytes, Entry] = {}
        stack = [self.tree()]
        while stack:
            node = stack.pop()
            path = raw_path(node).strip(b"/")
            if "mode" in node:
                target = node.get("target", "").encode("utf-8", "surrogateescape")
                if "target_b64" in node:
                    target = base64.urlsafe_b64decode(node["target_b64"])
                directory = node["content_type"] == "directory"
                found[path] = Entry(
                    node["content_type"],
                    0 if directory else node["size"],
                    node["mtime_ns"],
                    node["ino"],
                    node["mode"],
                    node["nlink"],
                    target,
                )
            stack += node.get("children", ())
        return found

    def difference(self) -> Difference:
        """What fs/tree says against the disk."""
        return compare(walk(os.fsencode(self.root)), self.entries())

    def settled(self, patience: float = PATIENCE) -> dict[str, Any]:
        """Wait until the tree claims to contain everything done before this call; returns the root node."""
        now = time.time()

        def claims() -> dict[str, Any] | None:
            node = self.tree(max_depth=0)
            return node if node["state"] == "live" and node["complete"] and node["as_of"] >= now else None

        node: dict[str, Any] = until(claims, "a live and complete tree\n" + self.logs(), patience)
        return node

    def assert_right(self) -> None:
        """Once it claims to be up to date, nothing is missing, extra or wrong: without a second chance."""
        self.settled()
        difference = self.difference()
        assert not difference, str(difference)

    def becomes_right(self, patience: float = PATIENCE) -> None:
        """For changes that make no events: right in the end."""
        until(lambda: not self.difference(), "no difference", patience)

    # -- processes ----------------------------------------------------------------------------------------------------

    def payloads(self) -> dict[str, dict[str, Any]]:
        """The guardians' tables: payload name → entry."""
        found = {}
        for side in ("fusion", "agent"):
            table = json.loads((self.state / side / "run" / "table.json").read_text())
            for entry in table["slots"]:
                found[entry["name"]] = entry
        return found

    def pid(self, name: str) -> int:
        """Process id of a running payload."""
        return int(until(lambda: self._pid(name), f"{name} to run"))

    def _pid(self, name: str) -> int:
        entry = self.payloads().get(name)
        return 0 if entry is None or entry.get("exit") is not None else int(entry["pid"])

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to a payload; returns its pid."""
        return int(until(lambda: self._kill(name, number), f"{name} to be there"))

    def _kill(self, name: str, number: int) -> int:
        pid = self._pid(name)
        try:
            if pid:
                os.kill(pid, number)
        except ProcessLookupError:  # the table still names one that has been reaped
            return 0
        return pid

    def status(self) -> dict[str, Any]:
        """``fustor status --json``."""
        found: dict[str, Any] = json.loads(self.command("status", "--json").stdout)
        return found

    def admin(self, op: str, **args: Any) -> Any:
        """What Fusion's control actor answers; for what is asked again and again, without a command each time."""
        from fustor.admin.client import Client
        from fustor.admin.state import State

        with Client(State(self.state)) as client:
            return client.admin(op, **args)

    def agent(self) -> dict[str, Any]:
        """The one agent as Fusion knows it; empty before it has logged in."""
        agents = self.admin("agents")["agents"]
        return dict(agents[0]) if agents else {}

    def running(self) -> dict[str, int]:
        """Payloads that do their work, as their shells say: name → pid."""
        status = self.admin("status")
        every = [*status["payloads"], *(one for agent in status["agents"] for one in agent["payloads"])]
        return {one["name"]: one["pid"] for one in every if one["state"] == "running"}

    def logs(self) -> str:
        """The last lines of every log, for messages of failed tests."""
        lines = []
        for log in sorted(self.state.glob("*/log/*.log")):
            lines += [f"== {log.parent.parent.name}/{log.name}", *log.read_text(errors="replace").splitlines()[-5:]]
        return "\n".join(lines)


def raw_path(node: dict[str, Any]) -> bytes:
    """The path of a node as bytes."""
    if "path_b64" in node:
        return base64.urlsafe_b64decode(node["path_b64"])
    return str(node["path"]).encode()


class Poller:
    """
    Asks for a path twenty times a second while a test does something, as a context manager.

    At the end: every answer was a 200 with valid JSON, and generations never went back.

    Args:
        cluster: whom to ask.
        path: what for, with its children.
        retries: how many requests may be cut by the death of the worker that had them; each is asked once more.
        pause: seconds between two requests.

    Attributes:
        answers: the root nodes, in the order of asking.
        received: when each had come, in seconds since 1970.
        retried: how many were asked twice.
    """

    def __init__(self, cluster: Cluster, path: bytes = b"/", *, retries: int = 0, pause: float = 0.05) -> None:
        self._cluster = cluster
        self._path = path
        self._retries = retries
        self._pause = pause
        self.received: list[float] = []
        self.retried = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answers: list[dict[str, Any]] = []
        self.failures: list[str] = []

    def __enter__(self) -> Poller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        assert not self.failures, self.failures[:5]
        assert self.answers, "no answer at all"
        generations = [answer["generation"] for answer in self.answers]
        assert generations == sorted(generations), "a generation went back"

    def states(self) -> Iterator[str]:
        """The state of each answer."""
        return (answer["state"] for answer in self.answers)

    def _run(self) -> None:
        while not self._stop.wait(self._pause):
            try:
                answer = self._ask()
                if answer.status != 200:
                    self.failures.append(f"{answer.status}: {answer.body[:100]!r}")
                else:
                    self.answers.append(answer.json)
                    self.received.append(time.time())
            except (OSError, ValueError, http.client.HTTPException) as error:
                self.failures.append(repr(error))

    def _ask(self) -> Answer:
        target = f"/fs/tree?path={quote(self._path)}&max_depth=1"
        try:
            return self._cluster.get(target)
        except (ConnectionResetError, http.client.RemoteDisconnected, http.client.IncompleteRead):
            if self.retried >= self._retries:
                raise
            self.retried += 1
            return self._cluster.get(target)
