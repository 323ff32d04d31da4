"""
Finding, watching and stopping the processes of one side from outside.

A pid in a file may be anybody's by now. A process is believed to be the guardian of a side when its working directory
is that side's ``run`` folder and its command line names the guardian's program; it is held by a pidfd before it is
looked at, so that a signal can't reach a successor of the same number (pidfd_open(2)). Nothing here starts a process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import time
from pathlib import Path
from types import TracebackType

import attrs

from fustor.admin.state import Side
from fustor.runtime.daemon import LOCK
from protocols.errors import MachineError

#: In the run folder: everything is being stopped, so survivors of a guardian neither start nor join a successor.
STOPPING = "stopping"
#: Seconds that a killed guardian's successor is waited for; more than its survivors look for one.
SUCCESSION_SECONDS = 12.0


class Held:
    """A process that can be waited for and signalled without mistaking another for it."""

    def __init__(self, pid: int) -> None:
        """Raises ProcessLookupError when there is none."""
        self.pid = pid
        self._fd = os.pidfd_open(pid)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def fileno(self) -> int:
        """Readable once the process has ended."""
        return self._fd

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal; False when the process has ended."""
        try:
            signal.pidfd_send_signal(self._fd, number)
        except ProcessLookupError:
            return False
        return True

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended; False when it still runs after ``seconds``."""
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        return bool(poller.poll(max(0.0, seconds) * 1000))

    def close(self) -> None:
        """Let go of it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def members(side: Side) -> dict[int, str]:
    """Processes of this side: pid → name (``guardian``, ``control``, ``view.main`` …; empty when it can't be seen)."""
    run = os.path.realpath(side.run)
    found: dict[int, str] = {}
    for process in os.listdir("/proc"):
        if process.isdigit():
            try:
                if os.readlink(f"/proc/{process}/cwd") == run:
                    found[int(process)] = _name(process)
            except OSError:  # ended meanwhile, or another user's
                continue
    return found


def _name(process: str) -> str:
    command = Path("/proc", process, "cmdline").read_bytes().split(b"\0")
    if any(word.endswith(b"fustor/guardian/main.py") for word in command[:5]):
        return "guardian"
    for variable in Path("/proc", process, "environ").read_bytes().split(b"\0"):
        if variable.startswith(b"FUSTOR_NAME="):
            return variable[12:].decode("utf-8", "replace")
    return ""


def guardian(side: Side) -> Held | None:
    """The running guardian of a side, held; None when there is none."""
    try:
        pid = int((side.run / "guardian.pid").read_text().split()[0])
        held = Held(pid)
    except (FileNotFoundError, ProcessLookupError, ValueError, IndexError):
        return None
    except PermissionError:
        raise MachineError(f"{side.run}: belongs to another user; use --state, or become that user") from None
    # Checked only now that it is held: what /proc says is said of this very process.
    try:
        ours = os.readlink(f"/proc/{pid}/cwd") == os.path.realpath(side.run) and _name(str(pid)) == "guardian"
    except OSError:
        ours = False
    if ours and not held.wait(0):
        return held
    held.close()
    return None


def wait_guardian(side: Side, seconds: float = SUCCESSION_SECONDS) -> Held | None:
    """
    As :func:`guardian`, waiting for the successor of one that was killed for up to ``seconds``. No wait when nothing of
    the side runs, or it is being stopped.
    """
    deadline = time.monotonic() + seconds
    while (found := guardian(side)) is None:
        if time.monotonic() > deadline or (side.run / STOPPING).exists() or not members(side):
            return None
        time.sleep(0.02)
    return found


@attrs.frozen
class Stopped:
    """
    How the stop of a side went.

    Attributes:
        ran: there was something to stop.
        killed: processes that had to be killed, by name.
        left: processes that could not be ended at all (waiting for storage), by name and pid.
    """

    ran: bool
    killed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def stop(side: Side, seconds: float) -> Stopped:
    """
    Stop one side: ask its guardian, wait up to ``seconds``, kill what is left, and remove what they left in ``run``.

    Args:
        side: which.
        seconds: for the orderly stop; after it, five more for the processes that were killed.

    Raises:
        MachineError: its guardian runs where it can't be seen.
    """
    deadline = time.monotonic() + seconds
    ran = bool(members(side))
    if ran:
        # First of all: if the guardian is killed now, or was, its survivors exit.
        _say_stopping(side)
    while (keeper := guardian(side)) is not None:
        with keeper:
            keeper.signal(signal.SIGTERM)
            if not keeper.wait(deadline - time.monotonic()):
                break
    killed: list[str] = []
    deadline = time.monotonic() + 5.0
    # Again and again: a survivor may just have been starting a successor.
    while (remaining := members(side)) and time.monotonic() < deadline:
        _say_stopping(side)  # a guardian that has stopped removed it
        killed += _kill(side, remaining, deadline)
    left = tuple(f"{name} (pid {pid})" for pid, name in members(side).items())
    if not left:
        if _guarded(side):
            raise MachineError(
                f"{side.run}: its guardian runs, but can't be seen from here: it belongs to another user, or to "
                "another namespace of users or processes (a container); stop it there"
            )
        clear_run(side)
    return Stopped(ran=ran, killed=tuple(killed), left=left)


def _say_stopping(side: Side) -> None:
    # Where that can't be written, no successor can start either.
    with contextlib.suppress(OSError):
        (side.run / STOPPING).touch(mode=0o600)


def _kill(side: Side, processes: dict[int, str], deadline: float) -> list[str]:
    """Kill these, if they do not end by themselves; the names of those that had to be killed."""
    killed = []
    # The guardian first: the others must not be started again.
    for pid, name in sorted(processes.items(), key=lambda item: item[1] != "guardian"):
        try:
            held = Held(pid)
        except ProcessLookupError:
            continue
        with held:
            if members(side).get(pid) != name:
                continue
            # It may be just ending: a moment before it is called stubborn.
            if held.wait(0.5) or not held.signal(signal.SIGKILL):
                continue
            killed.append(name or str(pid))
            held.wait(deadline - time.monotonic())
    return killed


def _guarded(side: Side) -> bool:
    """Somebody holds the guardian's lock (flock(2)): also a process that /proc does not show us."""
    try:
        descriptor = os.open(side.run / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except PermissionError:
        raise MachineError(f"{side.run}: belongs to another user; use --state, or become that user") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def clear_run(side: Side) -> None:
    """Remove sockets and notes of processes that are gone. Only for a side of which nothing runs."""
    try:
        entries = list(os.scandir(side.run))
    except FileNotFoundError:
        return
    # The word that everything is being stopped goes last: until then it holds for a successor that is just beginning,
    # and from then on that finds no table of a guardian that it could follow.
    for entry in sorted(entries, key=lambda entry: entry.name == STOPPING):
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.path)
