"""
Does to running processes what a schedule says, and writes down when.

A step that hits somebody waits until he is there and of his side somebody is left who can start the rest: nobody else
restarts anything. What this module does not do: draw the steps, or judge what comes of them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from benchmarks.chaos.ends import Ends
from benchmarks.chaos.lives import Lives, send
from benchmarks.chaos.schedule import TEMPLATE, Kind, Step, Who
from benchmarks.chaos.timeline import Mark
from benchmarks.eye import Eye
from fustor.admin.client import Client
from protocols.errors import FustorError, RequestError

if TYPE_CHECKING:
    from benchmarks.chaos.ground import Links
    from tests.support.proxy import Proxy

#: Seconds that a victim may take to be there, that an order is waited for, and between two looks.
_PATIENCE, _ORDER, _LOOK = 60.0, 5.0, 0.02
#: Who is meant by an order to one of the sides.
_TARGETS = {"fusion": "fusion", "agent": "local"}
_VIEW: Who = ("fusion", "view.main")
#: Tries of a resume, for what we drained must not stay away, and of a push.
_TRIES = 5
_PIECE = 1 << 16


@attrs.define
class Faults:
    """
    Attributes:
        lives: who can be hit.
        eye: Fusion, for orders and configurations.
        ends: is told how query workers end.
        document: a configuration of the agent that changes nothing that is there; another one for each number.
        store: folder of the view: its stores, and their copy.
        links: between the agent and Fusion.
        room: a small file system that holds the store; None: it can't be filled.
        marks: when what was done.
        done: how many processes were killed, stopped …, and how orders ended.
        problems: what should not have been, in words.
    """

    lives: Lives
    eye: Eye
    ends: Ends
    document: Callable[[int], str]
    store: Path
    links: Links
    room: Path | None = None
    marks: list[Mark] = attrs.Factory(list)
    done: dict[str, int] = attrs.Factory(dict)
    problems: list[str] = attrs.Factory(list)

    def do(self, step: Step) -> None:
        """One step, and the time that passes afterwards."""
        _DO[step.kind](self, step)
        if step.kind not in _HOLD:
            time.sleep(step.seconds)

    # -- signals ----------------------------------------------------------------------------------------------------

    def _kill(self, step: Step) -> None:
        self._strike(step, signal.SIGKILL)

    def _stop(self, step: Step) -> None:
        self._strike(step, signal.SIGSTOP)

    def _stand(self, step: Step) -> None:
        pids = self._strike(step, signal.SIGSTOP)
        time.sleep(step.seconds)
        for pid in pids:
            send(pid, signal.SIGCONT)

    def _reexec(self, step: Step) -> None:
        self._strike(step, signal.SIGHUP)

    def _strike(self, step: Step, number: signal.Signals) -> list[int]:
        hit = []
        for who, pid in self._wait(step.victims).items():
            self.ends.meant(pid, "stopped" if number is signal.SIGSTOP else "killed")
            if send(pid, number):
                hit.append(pid)
                self._mark(step.kind, "/".join(who), str(step))
        return hit

    def _wait(self, victims: Sequence[Who]) -> dict[Who, int]:
        """The victims, once all of them are there, and of each side somebody else."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            able = self.lives.able()
            # A template succeeds nobody.
            spared = {side for side, name in able if (side, name) not in victims and name != TEMPLATE}
            there = {who: able[who] for who in victims if who in able and who[0] in spared}
            if len(there) == len(victims):
                return there
            if time.monotonic() > deadline:
                away = [f"{side}/{name}" for side, name in victims if (side, name) not in there]
                self.problems.append(f"not there, or nobody else: {', '.join(away)}, waited {_PATIENCE:g} s")
                return there
            time.sleep(_LOOK)

    # -- orders -----------------------------------------------------------------------------------------------------

    def _restart(self, step: Step) -> None:
        self._ordered(step, "restart")

    def _drain(self, step: Step) -> None:
        self._ordered(step, "drain")
        time.sleep(step.seconds)
        self._resume(step.victims[0])

    def _ordered(self, step: Step, kind: str) -> str:
        (who,) = step.victims
        if (pid := self._wait(step.victims).get(who)) is not None:
            self.ends.meant(pid, "ordered")
        self._mark(step.kind, "/".join(who), str(step))
        return self._order(kind, who)

    def _resume(self, who: Who) -> None:
        for _ in range(_TRIES):
            if self._order("resume", who) == "done":
                return
        self.problems.append(f"{'/'.join(who)} can't be resumed")

    def _order(self, kind: str, who: Who) -> str:
        """The state of an order, when it is final or has been waited for."""
        state = ""
        wanted = {"id": secrets.token_hex(12), "target": _TARGETS[who[0]], "kind": kind, "payload": who[1]}
        deadline = time.monotonic() + _ORDER
        try:
            told = self.eye.ask("order", **wanted)
            while not told["final"] and time.monotonic() < deadline:
                time.sleep(_LOOK)
                told = self.eye.ask("order-state", id=wanted["id"])
            state = str(told["state"])
        except RequestError:
            state = "refused"
        self._count(f"order {kind}: {state}")
        return state

    def _reload(self, step: Step) -> None:
        document = self.document(self.done.get("reload", 0))
        self._mark(step.kind, "configuration", str(step))
        said = ""
        for _ in range(_TRIES):
            try:
                # Its patterns are read by processes of their own before it is kept.
                with Client(self.lives.state, _ORDER) as client:
                    client.admin("config-push", agent="local", document=document, reason="chaos")
            except FustorError as error:
                said = str(error)
            else:
                return
        self.problems.append(f"a configuration can't be pushed: {said}")

    # -- link, disk, store ------------------------------------------------------------------------------------------

    def _cut(self, step: Step) -> None:
        self._link(step).cut()

    def _silence(self, step: Step) -> None:
        self._link(step).silence(True)

    def _pass(self, step: Step) -> None:
        self._link(step).silence(False)

    def _link(self, step: Step) -> Proxy:
        carries_data = step.kind.endswith("-data")
        self._mark(step.kind, "data link" if carries_data else "link", str(step))
        return self.links.data if carries_data else self.links.control

    def _fill(self, step: Step) -> None:
        assert self.room is not None
        self._mark(step.kind, "disk", str(step))
        size = _PIECE
        with (self.room / "filler").open("wb", buffering=0) as file:
            while size:
                try:
                    file.write(bytes(size))
                except OSError:
                    size //= 2

    def _free(self, step: Step) -> None:
        assert self.room is not None
        self._mark(step.kind, "disk", str(step))
        (self.room / "filler").unlink()

    def _corrupt(self, step: Step) -> None:
        self._without_view(step, self._spoil)

    def _rebuild(self, step: Step) -> None:
        self._without_view(step, lambda: shutil.rmtree(self.store))

    def _without_view(self, step: Step, act: Callable[[], None]) -> None:
        self._wait([_VIEW])
        self._mark(step.kind, "store", str(step))
        self._order("drain", _VIEW)
        if _VIEW in self.lives.members().values():
            self.problems.append(f"{step.kind}: the view is still there")
        else:
            act()
        self._resume(_VIEW)

    def _spoil(self) -> None:
        """
        The store's file is another one, which is none. Who reads the one before goes on with it: LMDB has no check
        sums, so nobody could tell what is written into pages that are in use.
        """
        rubbish, data = self.store / "rubbish", self.store / "front" / "data.mdb"
        try:
            rubbish.write_bytes(os.urandom(_PIECE))
            rubbish.replace(data)
        except OSError:  # the disk is full: a file that is cut off says as little
            rubbish.unlink(missing_ok=True)
            data.unlink(missing_ok=True)

    # -- what was done ----------------------------------------------------------------------------------------------

    def _mark(self, kind: Kind, lane: str, text: str) -> None:
        self.marks.append(Mark(time.perf_counter(), lane, kind, text))
        self._count(kind)

    def _count(self, what: str) -> None:
        self.done[what] = self.done.get(what, 0) + 1


#: Kinds that last for the time of their step.
_HOLD: frozenset[Kind] = frozenset({"stand", "drain"})
_DO: Mapping[Kind, Callable[[Faults, Step], None]] = {
    "kill": Faults._kill,
    "stop": Faults._stop,
    "stand": Faults._stand,
    "restart": Faults._restart,
    "drain": Faults._drain,
    "reload": Faults._reload,
    "reexec": Faults._reexec,
    "cut": Faults._cut,
    "silence": Faults._silence,
    "pass": Faults._pass,
    "cut-data": Faults._cut,
    "silence-data": Faults._silence,
    "pass-data": Faults._pass,
    "fill": Faults._fill,
    "free": Faults._free,
    "corrupt": Faults._corrupt,
    "rebuild": Faults._rebuild,
}
