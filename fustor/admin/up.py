"""
``fustor up DIR``: from nothing to an answering fs/tree, in one command.

It prepares the state folder, starts Fusion and an agent for DIR, says where the answers are as soon as there are any,
and shows what goes on until it is interrupted; then it stops what it started. Run again while all that runs, it only
looks.
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer

from fustor.admin.console import print_json, stderr, stdout
from fustor.admin.daemons import Daemon, exclusive
from fustor.admin.down import STOP_SECONDS
from fustor.admin.options import JsonOption, StateOption, chosen_state
from fustor.admin.ports import turn
from fustor.admin.prepare import check_root, make_folder, prepare
from fustor.admin.probe import ask_root, url
from fustor.admin.processes import stop, wait_guardian
from fustor.admin.progress import troubled
from fustor.admin.state import State
from fustor.admin.watching import Observer, watch_sides
from fustor.runtime.access import own_key
from protocols.errors import MachineError, RequestError

#: Seconds from the start of both sides until fs/tree answers, before that is called a failure.
ANSWER_SECONDS = 30.0
#: What ends the command, and after how many seconds it is raised again when nobody has heard it.
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_SECONDS = 0.5


def command(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="The directory to index; everything below it.")],
    http: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where fs/tree answers.  [default: 127.0.0.1:8101 or a free port]")
    ] = "",
    state: StateOption = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when the first answer is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Start the index of DIR and show its progress; Ctrl-C stops it."""
    where = chosen_state(state)
    with _interruptible():
        started: list[Daemon] = []
        answering = False
        try:
            root = check_root(directory)
            with turn(ANSWER_SECONDS):
                started += bring_up(where, root, http)
            address = _wait_answer(where, started)
            answering = True
            _announce(where, address, started, detach, as_json)
            if detach:
                for daemon in started:
                    daemon.close()
            else:
                _stay(where, address, started, as_json)
        except KeyboardInterrupt:
            _heard()
            if started:
                _stop(where, started, quiet=as_json)
            elif answering:
                stderr().print("still running; stop it: fustor down")
            if not answering:
                raise
        except BaseException:
            if started:
                _stop(where, started, quiet=as_json)
            raise


def bring_up(state: State, root: str, http: str) -> list[Daemon]:
    """
    Start what does not run yet, and wait until both guardians run.

    Returns:
        The sides started by this call; empty when all ran already.

    Raises:
        RequestError: it runs for another directory or at another address.
        MachineError: a side does not start; what was started by this call is stopped again.
    """
    make_folder(state)
    with exclusive(state):
        running = {side.name: held for side in state.sides if (held := wait_guardian(side)) is not None}
        for held in running.values():
            held.close()
        if running:
            _same(state, root, http)
        else:
            prepare(state, root, http)
            _check_patterns(state)
        started: list[Daemon] = []
        try:
            for side in state.sides:
                if side.name not in running:
                    started.append(Daemon(side))
            for daemon in started:
                daemon.wait_running()
        except BaseException:
            _heard()
            for daemon in reversed(started):
                daemon.interrupt(STOP_SECONDS)
                stop(daemon.side, STOP_SECONDS)
            raise
    return started


def _check_patterns(state: State) -> None:
    """
    An agent starts with bad patterns too, so that they can be mended from afar; who sits in front of it is told.

    Raises:
        MachineError: a pattern can't be read; names it.
    """
    sources = state.read(state.folder / "agent.toml").get("sources", [])
    kinds = ("include", "exclude", "include_regex", "exclude_regex")
    if not isinstance(sources, list) or not any(source.get(kind) for source in sources for kind in kinds):
        return
    file = str(state.folder / "agent.toml")
    command = [sys.executable, "-P", "-m", "fustor.agent.daemon", "--config", file, "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MachineError((done.stderr or done.stdout).strip())


def _same(state: State, root: str, http: str) -> None:
    before = state.root()
    if before and os.path.realpath(before) != root:
        raise RequestError(
            "DIR",
            root,
            f"{state.folder} is running for {before}; stop it (fustor down), or give this directory a state folder "
            "of its own: --state FOLDER",
        )
    address = str(state.fusion_config()["http"])
    if http and http != address:
        raise RequestError("--http", http, f"it is running and answers at {address}; stop it first: fustor down")


def _wait_answer(state: State, started: list[Daemon]) -> str:
    """Wait until fs/tree answers; returns the address it listens on."""
    address = str(state.fusion_config()["http"])
    deadline = time.monotonic() + ANSWER_SECONDS
    ended = select.poll()
    for daemon in started:
        ended.register(daemon, select.POLLIN)
    while ask_root(address, 1.0, own_key(str(state.fusion.folder))) is None:
        for daemon in started:
            if daemon.ended() is not None and not daemon.succeeded():
                raise daemon.failed()
        if time.monotonic() > deadline:
            raise MachineError(
                f"{url(address)} did not answer within {ANSWER_SECONDS:g} s{_who_is_troubled(state, address)}; "
                f"see the logs in {state.fusion.log}"
            )
        ended.poll(50)
    return address


def _who_is_troubled(state: State, address: str) -> str:
    with Observer(state, address) as observer:
        actors = observer.look().actors
    if actors is None:
        return ": the control actor does not answer either"
    found = [f"{a.side} {a.name} is {a.state}" + (f" ({a.last_exit})" if a.last_exit else "") for a in troubled(actors)]
    return f": {', '.join(found)}" if found else ""


def _announce(state: State, address: str, started: list[Daemon], detach: bool, as_json: bool) -> None:
    if as_json:
        pids = {}
        for side in state.sides:
            held = wait_guardian(side)
            if held is not None:
                pids[side.name] = held.pid
                held.close()
        what = {"url": url(address), "root": state.root(), "state": str(state.folder), "pids": pids}
        print_json({**what, "started": bool(started)})
        return
    out = stdout()
    if not started:
        out.print(f"already running for {state.root()}", markup=False)
    out.print(f"answers at {url(address)}", markup=False)
    out.print(f"    curl {shlex.quote(url(address) + '?path=/&max_depth=1')}", markup=False)
    default = chosen_state(None).folder == state.folder
    option = "" if default else f" --state {shlex.quote(str(state.folder))}"
    if detach or not started:
        out.print(f"look: fustor status{option} --watch    stop: fustor down{option}", markup=False)
    else:
        out.print("Ctrl-C stops it", markup=False)


def _stay(state: State, address: str, started: list[Daemon], as_json: bool) -> None:
    """Show progress until a side ends; KeyboardInterrupt passes through."""
    ended = watch_sides(state, address, state.sides, quiet=as_json)
    for daemon in started:
        if daemon.side == ended and daemon.ended() not in (None, 0):
            raise daemon.failed()
    stderr().print("stopped by somebody else")


def _stop(state: State, started: list[Daemon], quiet: bool) -> None:
    """Stop what this command started; further interrupts are ignored, since this ends by itself."""
    for number in _INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)
    if not quiet:
        stderr().print("stopping …")
    with exclusive(state):
        results = [stop(daemon.side, STOP_SECONDS) for daemon in reversed(started)]
    left = [name for result in results for name in result.left]
    if left:
        raise MachineError(f"could not be ended, they wait for storage: {', '.join(left)}")
    if not quiet:
        stderr().print("stopped")


def _heard() -> None:
    """An interrupt is being seen to: it is not raised again."""
    signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def _interruptible() -> Iterator[None]:
    """
    SIGTERM and SIGHUP interrupt as Ctrl-C does, until it is heard: where a handler happens to run in a finalizer, or in
    a callback of the import system, Python passes over what it raises.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (*_INTERRUPTS, signal.SIGALRM)}
    try:
        yield
    finally:
        _heard()
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.stdout.flush()
