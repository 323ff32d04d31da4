"""
From a checked configuration to a running guardian: the state folder, ``run/``, and the exec.

What this module does not do: read configurations, make keys, or stay: :func:`launch` replaces the process, so the pid
that a service manager knows is the guardian's.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import attrs

from fustor.guardian.predecessor import recorded
from fustor.guardian.process import born
from fustor.guardian.template import ROOM
from fustor.runtime.config import between
from fustor.runtime.durable import write_json
from fustor.runtime.endpoint import Address
from protocols.errors import ConfigError, FustorError, MachineError

#: Exit codes of a daemon (the guardian goes on with them).
OK = 0
FAILED = 1
BAD_CONFIGURATION = 2
ALREADY_RUNNING = 100

#: Held by the guardian for as long as it lives; not removed, or two could hold different files.
LOCK = "guardian.lock"
TABLE = "table.json"


@attrs.frozen
class GuardianLimits:
    """
    ``[limits.guardian]``

    Attributes:
        frozen_seconds: without a beat after which a control actor that was stopped by a signal is replaced.
        hang_seconds: the same of one that is not frozen: it may only be waiting for a processor.
        silent_seconds: without an answer after which a guardian is killed by its control actor, for a successor.
        rejoin_seconds: how long the processes of a killed guardian look for a successor before they exit.
        adopt_seconds: how long a successor waits for them to join before it kills them.
        trial_seconds: in which another program of the guardian or control actor has to be proved.
        proof_seconds: how long it has to be well for that.
        template: payloads are forked of a process that has imported their program; else each imports it anew.
    """

    frozen_seconds: float = attrs.field(default=1.5, validator=between(1.0, 3600))
    hang_seconds: float = attrs.field(default=4.0, validator=between(1.0, 3600))
    silent_seconds: float = attrs.field(default=5.0, validator=between(1.0, 3600))
    rejoin_seconds: float = attrs.field(default=10.0, validator=between(0, 3600))
    adopt_seconds: float = attrs.field(default=5.0, validator=between(0, 3600))
    trial_seconds: float = attrs.field(default=60.0, validator=between(1.0, 3600))
    proof_seconds: float = attrs.field(default=10.0, validator=between(0, 3600))
    template: bool = True


class AlreadyRunningError(FustorError):
    """Another guardian runs on this state folder."""


def default_state(side: str) -> str:
    """Where the state of ``side`` is kept when nobody says: ``$FUSTOR_STATE/<side>``, else below the home folder."""
    return os.path.join(os.environ.get("FUSTOR_STATE") or os.path.expanduser("~/.local/state/fustor"), side)


def make_folder(path: str) -> None:
    """
    Make ``path`` (and what leads to it) with mode 0700, or accept it as it is when it is ours alone to write.

    Raises:
        MachineError: it can't be made or written, is no folder, or others may write to it.
    """
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        found = os.stat(path)
    except OSError as error:
        raise MachineError(f"state folder {path} can't be made: {error.strerror}") from error
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise MachineError(f"state folder {path} has mode {found.st_mode & 0o7777:04o}: do `chmod 700 {path}`")
    probe = os.path.join(path, f".probe.{os.getpid()}")
    try:
        with open(probe, "wb") as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise MachineError(f"state folder {path} can't be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(probe)


def make_state(state: str, folders: Iterable[str]) -> None:
    """
    Make the state folder and the ``folders`` in it.

    Raises:
        MachineError: as :func:`make_folder`.
    """
    for path in (
        state,
        *(os.path.join(state, folder) for folder in ("run", "log", "keys", "keys/authorized", *folders)),
    ):
        make_folder(path)


def clear_run(run: str) -> int:
    """
    Empty ``run`` of what an earlier life left, and take the guardian's lock. While processes of a guardian that was
    killed live, nothing is removed: they use what is there, and the guardian takes them over.

    Returns:
        The descriptor that holds the lock; exec closes it, and the guardian takes it anew.

    Raises:
        AlreadyRunningError: a guardian lives here, so nothing was touched.
        MachineError: the folder can't be written.
    """
    try:
        lock = os.open(os.path.join(run, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise MachineError(f"{run}/{LOCK} can't be opened: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise AlreadyRunningError(f"already running (pid {_pid_in(run)}) on {os.path.dirname(run)}") from None
    try:
        if _survivors(run):
            return lock
        for entry in os.scandir(run):
            if entry.name == LOCK:
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
    except OSError as error:
        os.close(lock)
        raise MachineError(f"{run} can't be emptied: {error.strerror}") from error
    return lock


def _survivors(run: str) -> bool:
    """Processes of a killed guardian live, as its table tells."""
    try:
        with open(os.path.join(run, TABLE), "rb") as file:
            before = recorded(file.read())
    except FileNotFoundError:
        return False
    return any(slot.born and born(slot.pid) == slot.born for slot in before.running())


def _pid_in(run: str) -> str:
    try:
        with open(os.path.join(run, "guardian.pid"), encoding="ascii") as file:
            return file.read(20).strip()
    except (OSError, UnicodeDecodeError):
        return "unknown"


def launch(
    state: str,
    module: str,
    config: Any,
    *,
    listen: Mapping[str, Address],
    control_fds: Sequence[str] = (),
    template: Sequence[str],
    grace_seconds: float,
    limits: GuardianLimits,
    supervised: bool,
) -> NoReturn:
    """
    Write ``run/config.json`` and ``run/guardian.json`` and become the guardian.

    Args:
        state: the state folder, made by :func:`make_state`.
        module: the control actor, started as ``python -P -m module`` with the path of its configuration in
            ``$FUSTOR_CONFIG``.
        config: the effective configuration as plain data.
        listen: listening sockets by name; the guardian keeps them whoever comes and goes.
        control_fds: names of those that the control actor is given.
        template: modules that its processes are made of; see :mod:`fustor.runtime.template`.
        grace_seconds: how long the control actor may take to stop everything.
        limits: of the guardian.
        supervised: whoever started us starts the next guardian when this one is killed; else its survivors do.

    Raises:
        AlreadyRunningError, MachineError: as :func:`clear_run`.
    """
    run = os.path.join(state, "run")
    log = os.path.join(state, "log")
    modules = list(template) if limits.template else []
    # Whoever wants no bytecode in a session means no daemon, which would compile everything at each restart.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    has_room = os.environb.pop(ROOM, None) is not None
    if modules and has_room:
        # Only here: the command line reads configurations too, and is to be quick.
        from fustor.runtime.template import begin as begin_template

        with contextlib.suppress(OSError):  # the guardian tries again
            begin_template(modules, run, os.path.join(log, "template.log"))
    clear_run(run)
    effective = os.path.join(run, "config.json")
    guardian = os.path.join(run, "guardian.json")
    spec = importlib.util.find_spec("fustor.guardian.main")
    if spec is None or spec.origin is None:
        raise MachineError("fustor.guardian.main is not installed: install fustor again")
    write_json(effective, config)
    write_json(
        guardian,
        {
            "run": run,
            "log": log,
            "control": [sys.executable, "-P", "-m", module],
            "env": {"FUSTOR_CONFIG": effective},
            "listen": {name: [_interface(address.host), address.port] for name, address in listen.items()},
            "control_fds": list(control_fds),
            "template": modules,
            "grace": grace_seconds,
            "successor": "supervisor" if supervised else "survivors",
            "beat_timeout": limits.frozen_seconds,
            "hang_timeout": limits.hang_seconds,
            "rejoin_timeout": limits.rejoin_seconds,
            "adopt_timeout": limits.adopt_seconds,
            "trial_timeout": limits.trial_seconds,
            "entry": spec.origin,
            "shell": os.path.join(state, "shell.json"),
        },
    )
    try:
        os.execv(sys.executable, [sys.executable, "-I", "-S", spec.origin, guardian])
    except OSError as error:
        raise MachineError(f"{sys.executable} can't be started: {error.strerror}") from error


def _interface(host: str) -> str:
    """The host to bind; ``*`` is every interface, of IPv6 too where there is such."""
    if host != "*":
        return host
    return "::" if socket.has_dualstack_ipv6() else "0.0.0.0"


def command_of(module: str, program: str = "") -> tuple[str, ...]:
    """
    How a payload is started: of the installed program, or of the one in the folder ``program``, an unpacked bundle,
    which then comes before all that is installed (``env`` becomes the payload: same process, same descriptors).
    """
    command = (sys.executable, "-P", "-m", module)
    return ("/usr/bin/env", f"PYTHONPATH={program}", *command) if program else command


def check_payload(module: str, config: Mapping[str, Any], seconds: float = 30.0, *, program: str = "") -> list[str]:
    """
    Ask a payload, in a process of its own, whether it would accept ``config``.

    Args:
        program: folder of an unpacked bundle; empty: the installed program.

    Returns:
        The faults it names, one a line; none when it accepts.
    """
    try:
        asked = subprocess.run(
            [*command_of(module, program), "--check"],
            input=json.dumps(config).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [f"{module} --check did not answer within {seconds:g} s"]
    if asked.returncode == OK:
        return []
    lines = [line for line in asked.stdout.decode(errors="replace").splitlines() if line.strip()]
    return lines or [f"{module} --check ended with code {asked.returncode} and said nothing"]


def faults_of(error: FustorError) -> list[str]:
    """Every fault in ``error``, one a line (``ConfigFaults`` holds several)."""
    faults: tuple[ConfigError, ...] = getattr(error, "faults", ())
    return [str(fault) for fault in faults] or [str(error)]


def report(program: str, faults: Iterable[str]) -> None:
    """Print each fault on stderr, after the program's name."""
    for fault in faults:
        print(f"{program}: {fault}", file=sys.stderr)
