"""
Both sides of a Fustor as shipped, guardians and control actors, with stand-ins for the data actors.

The stand-ins do nothing but live: they accept any configuration whose limits do not say otherwise, and get into trouble
when a test asks them to (:meth:`Sides.trouble`). So what is tested is the control plane, and it starts in a second.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zmq

from fustor.guardian.template import room
from fustor.runtime.keys import KeyPair, load_or_create, load_secret, write_public
from fustor.runtime.sockets import ClientCurve, open_socket
from protocols.codec import decode, encode
from protocols.messages import AdminReply, AdminRequest
from tests.support.ports import free_ports
from tests.support.waiting import PATIENCE as PATIENCE
from tests.support.waiting import until as until

CHECKOUT = Path(__file__).resolve().parents[2]
STAND_IN = """
import ctypes
import os
import re
import sys
import threading
import time
import trio
from fustor.runtime.actor import run_actor
from protocols.errors import ConfigError

kept = []

def hold_memory():
    kept.append(b"x" * (160 << 20))

def all_memory():
    while True:
        kept.append(b"x" * (1 << 20))

def hold_fds():
    kept.extend(open(os.devnull) for _ in range(110))

def all_fds():
    while True:
        kept.append(open(os.devnull))

def burn():
    def work():
        while True:
            sum(range(1000))
    sys.setswitchinterval(0.0001)
    threading.Thread(target=work, daemon=True).start()

def flood():
    def work():
        while True:
            os.write(1, b"a line that nobody reads\\n" * 40_000)
            time.sleep(0.02)
    threading.Thread(target=work, daemon=True).start()

USES = {use.__name__: use for use in (hold_memory, all_memory, hold_fds, all_fds, burn, flood)}
TROUBLES = ("spin", "stall", "ignore", *USES)

async def trouble(host, folder):
    # What the file NAME.<payload> in the folder asks for; it is taken away first, so that it happens once.
    while not host.stop_requested.is_set():
        for what in TROUBLES:
            path = f"{folder}/{what}.{host.name}"
            if os.path.exists(path):
                os.unlink(path)
                if what == "spin":
                    re.match("(a+)+$", "a" * 64 + "b")  # in C, for longer than the universe, with the GIL
                elif what == "stall":
                    host.outstanding = True
                    host.nudge()
                elif what in USES:
                    USES[what]()
                else:
                    with trio.CancelScope(shield=True):
                        await trio.sleep_forever()
        await trio.sleep(0.02)

def build(config):
    if "bad" in config["limits"]:
        raise ConfigError("limits.bad", config["limits"]["bad"], "nothing is accepted")
    async def run(host):
        limits = config["limits"]
        host.counters["runs"] = host.counters.get("runs", 0) + 1
        host.ready(config=repr(sorted(config)))
        if "expression" in limits:
            # As a scanner would be that used Python's own: each name is searched, and counted.
            await trio.sleep(0.2)  # so that it has said that it runs
            host.counters["matched"] = sum(bool(re.search(limits["expression"], name)) for name in limits["names"])
        while "native" in limits:
            if os.path.exists(limits["native"]):
                ctypes.string_at(0)  # what a bad native library does
            await trio.sleep(0.05)
        if "trouble" in config["limits"]:
            await trouble(host, config["limits"]["trouble"])
        await host.stop_requested.wait()
        print("stopped", flush=True)
    return run

def start():
    run_actor("stand-in", build)

if __name__ == "__main__":
    start()
"""


def stand_ins(folder: Path) -> Path:
    """A folder for PYTHONPATH, whose ``actors`` are stand-ins; written once: templates end when their files change."""
    actors = folder / "stand-ins" / "actors"
    if not actors.exists():
        for kind in ("watcher", "scanner", "syncer", "view", "query"):
            (actors / kind).mkdir(parents=True)
            (actors / kind / "__main__.py").write_text(STAND_IN)
        (actors / "__init__.py").touch()
    return actors.parent


class Daemon:
    """
    One side.

    Args:
        folder: has ``<side>.toml``; its state is ``<folder>/<side>``.
        side: ``fusion`` or ``agent``.
    """

    def __init__(self, folder: Path, side: str) -> None:
        self.folder = folder
        self.side = side
        self.state = folder / side
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until its control actor runs."""
        # The stand-ins first, then this checkout, whichever one is installed.
        path = f"{stand_ins(self.folder)}{os.pathsep}{CHECKOUT}"
        environment = {**os.environ, **room(), "PYTHONPATH": path, "FUSTOR_LOG": "DEBUG"}
        command = [sys.executable, "-P", "-m", f"fustor.{self.side}.daemon", "--config", str(self.config)]
        self.process = subprocess.Popen(command, env=environment, cwd=CHECKOUT)
        until(lambda: self.exists(self.state / "run" / "lifeline"), f"the lifeline of {self.side}")

    @property
    def config(self) -> Path:
        """Its configuration file."""
        return self.folder / f"{self.side}.toml"

    def exists(self, path: Path) -> bool:
        """Whether ``path`` is there; fails the test when the daemon has ended."""
        assert self.process is not None
        assert self.process.poll() is None, f"{self.side} ended with {self.process.returncode}"
        return path.exists()

    def table(self) -> dict[str, Any]:
        """The guardian's table."""
        table: dict[str, Any] = json.loads((self.state / "run" / "table.json").read_text())
        return table

    def pids(self) -> dict[str, int]:
        """Payload → pid, of those that run."""
        return {slot["name"]: slot["pid"] for slot in self.table()["slots"] if slot["exit"] is None}

    def control(self) -> int:
        """Pid of the control actor; 0 while there is none."""
        control = self.table()["control"]
        return int(control["pid"]) if control else 0

    def kill_control(self) -> None:
        """kill -9, and wait for the next one."""
        before = self.control()
        os.kill(before, signal.SIGKILL)
        until(lambda: self.control() not in (0, before), f"another control actor of {self.side}")

    def log(self, name: str = "control") -> str:
        """What a process wrote."""
        path = self.state / "log" / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """For the end of a test that failed."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Sides:
    """
    Fusion and one agent, ``local``, which know each other; an operator and an observer.

    Args:
        folder: of the test.
        authorized: whether Fusion knows the agent's key.
        agent: more of ``agent.toml``.
        heartbeat: seconds between two of them; an agent is lost after three.
        way: port by which the agent reaches Fusion; 0: its own.
    """

    def __init__(
        self, folder: Path, *, authorized: bool = True, agent: str = "", heartbeat: float = 0.2, way: int = 0
    ) -> None:
        self.folder = folder
        (folder / "root").mkdir()
        port = free_ports(8)
        self.port = port
        self.control_endpoint = f"tcp://127.0.0.1:{port}"
        self.admin_endpoint = f"tcp://127.0.0.1:{port + 1}"
        (folder / "fusion.toml").write_text(
            f'[fusion]\nstate = "fusion"\ncontrol = "{self.control_endpoint}"\nadmin = "{self.admin_endpoint}"\n'
            f'http = "127.0.0.1:{port + 2}"\ndata = "tcp://127.0.0.1:{port + 3}"\n'
            f'query = "tcp://127.0.0.1:{port + 5}"\nheartbeat_seconds = {heartbeat}\n'
            + "".join(f'[limits.{kind}]\ntrouble = "{folder}"\n' for kind in ("view", "query"))
        )
        (folder / "agent.toml").write_text(
            f'[agent]\nstate = "agent"\nfusion = "tcp://127.0.0.1:{way or port}"\n'
            f'fusion_key_file = "fusion/keys/fusion.pub"\n'
            f'[[sources]]\nname = "data"\nroot = "root"\n'
            + "".join(f'[limits.{kind}]\ntrouble = "{folder}"\n' for kind in ("watcher", "scanner", "syncer"))
            + agent
        )
        self.fusion, self.agent = Daemon(folder, "fusion"), Daemon(folder, "agent")
        for side in (self.fusion, self.agent):
            (side.state / "keys" / "authorized").mkdir(parents=True, mode=0o700)
            for path in (side.state, side.state / "keys", side.state / "keys" / "authorized"):
                path.chmod(0o700)
        self.agent_key = load_or_create(str(self.agent.state / "keys" / "agent.key"), "local", "agent")
        if authorized:
            self.authorize(self.agent_key)

    def authorize(self, pair: KeyPair) -> None:
        """Let the owner of a key in."""
        write_public(str(self.fusion.state / "keys" / "authorized" / f"{pair.role}-{pair.name}.pub"), pair)

    def person(self, role: str) -> KeyPair:
        """The key of somebody with ``role``, who is let in."""
        pair = load_or_create(str(self.folder / f"{role}.key"), role, role)
        self.authorize(pair)
        return pair

    def curve(self, pair: KeyPair) -> ClientCurve:
        """What the owner of ``pair`` needs to talk to Fusion."""
        server = load_secret(str(self.fusion.state / "keys" / "fusion.key")).public
        return ClientCurve(server, pair.public, pair.secret)

    def ask(self, op: str, role: str = "operator", **args: Any) -> AdminReply:
        """Ask Fusion's control actor, until it answers."""
        return self.ask_within(2.0, op, role, args)

    def ask_within(self, seconds: float, op: str, role: str, args: dict[str, Any]) -> AdminReply:
        """Ask it, and anew every ``seconds`` until it answers."""
        pair = self.person(role)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            deadline = time.monotonic() + PATIENCE
            while True:
                with open_socket(context, zmq.DEALER, connect=self.admin_endpoint, curve=self.curve(pair)) as sock:
                    sock.sndtimeo = sock.rcvtimeo = round(1000 * seconds)
                    try:
                        sock.send(encode(AdminRequest(request="q", op=op, args=args)))
                        return decode(sock.recv(), AdminReply)
                    except zmq.Again:
                        assert time.monotonic() < deadline, f"no answer to {op}"
        finally:
            context.term()

    def trouble(self, payload: str, what: str) -> None:
        """
        Let a payload get into trouble, once.

        Args:
            what: ``spin`` (in C, with the interpreter's lock), ``stall`` (work outstanding, no progress), ``ignore``
                (requests to stop), ``hold_memory`` (160 MiB), ``all_memory``, ``hold_fds`` (110 more), ``all_fds``,
                ``burn`` (a processor, in a thread) or ``flood`` (its log, 50 MB/s).
        """
        path = self.folder / f"{what}.{payload}"
        path.touch()
        until(lambda: not path.exists(), f"{payload} to {what}")

    def give(self, what: str, target: str, payload: str = "", role: str = "operator", **args: str) -> str:
        """Give an order; its id."""
        order_id = secrets.token_hex(8)
        reply = self.ask("order", role, id=order_id, target=target, kind=what, payload=payload, **args)
        assert reply.ok, reply.error
        return order_id

    def outcome(self, order_id: str) -> dict[str, Any]:
        """What became of an order, once that is known."""
        order: dict[str, Any] = until(
            lambda: (o := self.ask("order-state", id=order_id).data)["final"] and o, f"the outcome of {order_id}"
        )
        return order

    def order(self, what: str, target: str, payload: str = "", **args: str) -> dict[str, Any]:
        """Give an order and wait for its outcome."""
        return self.outcome(self.give(what, target, payload, **args))

    def payload(self, side: str, name: str) -> dict[str, Any]:
        """The status of one payload, as Fusion knows it; empty while it does not."""
        for one in (self.ask("payloads", "observer", agent=side).data or {}).get("sides", ()):
            for status in one["payloads"]:
                if status["name"] == name:
                    found: dict[str, Any] = status
                    return found
        return {}

    def events(self, side: str, payload: str = "") -> list[dict[str, Any]]:
        """What happened there, with evidence."""
        found, after = [], "0"
        while True:
            answer = self.ask("events", "observer", after=after, side=side, evidence="yes").data
            found += [one for one in answer["events"] if payload in ("", one["payload"])]
            if str(answer["next"]) == after:
                return found
            after = str(answer["next"])

    def document(self, **limits: Any) -> str:
        """A document for the agent, with the same source as its file, and trouble and ``limits`` for its scanners."""
        lines = [f"{name} = {json.dumps(value)}" for name, value in {"trouble": str(self.folder), **limits}.items()]
        source = f'[[sources]]\nname = "data"\nroot = "{self.folder / "root"}"\n'
        return source + "\n".join(["[limits.scanner]", *lines]) + "\n"

    def try_push(
        self, document: str, agent: str = "local", reason: str = "a test", role: str = "deployer"
    ) -> AdminReply:
        """Push a document; the payloads are asked about it, which may take a while."""
        args = {"agent": agent, "document": document, "reason": reason, "file": "c.toml"}
        return self.ask_within(PATIENCE, "config-push", role, args)

    def push(self, document: str, agent: str = "local", reason: str = "a test") -> int:
        """Push a document for an agent (or, empty, for all); its revision."""
        reply = self.try_push(document, agent, reason)
        assert reply.ok, reply.error
        return int(reply.data["number"])

    def configuration(self) -> dict[str, Any]:
        """What the agent makes of its configuration, as Fusion was told last."""
        found = self.ask("config", "observer", agent="local").data or {}
        return dict(found.get("status") or {})

    def attempted(self, revision: int, *outcomes: str) -> dict[str, Any]:
        """Wait until the agent has tried a revision, with one of these outcomes."""

        def tried() -> dict[str, Any] | None:
            status = self.configuration()
            return status if status.get("attempted") == revision and status["outcome"] in outcomes else None

        try:
            found: dict[str, Any] = until(tried, f"revision {revision} to be {' or '.join(outcomes)}")
        except AssertionError as error:
            told = "\n".join(str((one["payload"], one["kind"], one["text"])) for one in self.events("local"))
            raise AssertionError(f"{error}; it is {self.configuration()}\n{told}") from None
        return found

    def status(self) -> dict[str, Any]:
        """The answer to ``status``."""
        reply = self.ask("status", "observer")
        assert reply.ok, reply.error
        data: dict[str, Any] = json.loads(json.dumps(reply.data))
        return data

    def link(self) -> dict[str, Any]:
        """The agent's entry in it; empty before its first login."""
        agents: list[dict[str, Any]] = self.status()["agents"]
        return agents[0] if agents else {}

    def all_running(self) -> bool:
        """Every payload of both sides runs, as Fusion sees it."""
        status = self.status()
        payloads = [*status["payloads"], *(p for agent in status["agents"] for p in agent["payloads"])]
        return len(payloads) == 7 and all(payload["state"] == "running" for payload in payloads)

    def close(self) -> None:
        """Stop what still runs."""
        self.agent.kill()
        self.fusion.kill()


def public_key(path: Path) -> str:
    """The key in a public file."""
    with path.open("rb") as file:
        return str(tomllib.load(file)["public"])


@contextmanager
def running(folder: Path, **options: Any) -> Iterator[Sides]:
    """Both sides with every payload, as :class:`Sides` makes them of ``options``; nothing is left of them."""
    both = Sides(folder, **options)
    try:
        both.fusion.start()
        both.agent.start()
        until(both.all_running, "all payloads of both sides")
        yield both
    finally:
        both.close()
