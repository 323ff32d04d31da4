"""
From the command line to the loop: everything that has to be right before the first process is started.

Three ways lead here. A first start finds nothing. A successor finds the processes of a guardian that was killed, and
takes them over. A new version is the same process after an execve, and goes on. ``loop.Guardian`` does the rest.
Each way begins with the installed program, which may give way to another one (``boot``).
"""

from __future__ import annotations

import os
import socket
import sys

from fustor.guardian import boot, children, files, handover, listeners, manager, pidfd, predecessor, process
from fustor.guardian.config import Config, load
from fustor.guardian.errors import StartError
from fustor.guardian.gate import Gate
from fustor.guardian.logs import Logs
from fustor.guardian.loop import Guardian
from fustor.guardian.manager import Manager
from fustor.guardian.survivors import Survivors
from fustor.guardian.template import BEGUN

_USAGE = "usage: python -I -S fustor/guardian/main.py CONFIG.json [--check | --succeed]"


def guard(program: str, arguments: list[str]) -> int:
    """
    Run a guardian until it is stopped.

    Args:
        program: path of the program that calls this.
        arguments: of the command line: the path of CONFIG.json, and at most one option. ``--check``: say whether it
            would start. ``--succeed``, given by a survivor: do not start while everything is being stopped.
            ``--state-fd N``, given by the version before this one: go on with that.

    Returns:
        The exit code, see ``main``. What prevented the start was said on stderr.
    """
    _occupy_standard_descriptors()
    try:
        path, option, number = _parse(arguments)
        config = load(path)
        program = os.path.abspath(program)
        entry = config.entry or program
        checking = option == "--check"
        if checking:
            _check(config)
        else:
            _enter(config.run)
        if program == entry:
            another = boot.other(
                config.shell,
                [os.path.abspath(path), *arguments[1:]],
                fresh=option != handover.OPTION,
                checking=checking,
            )
            if another:
                boot.become(another)
        if checking:
            return 0
        given = manager.take_listening(os.environb, os.getpid())
        begun = os.environb.pop(BEGUN, b"")
        command = [sys.executable, "-I", "-S", entry, os.path.abspath(path)]
        runs = _root(program) if program != entry else ""
        if option == handover.OPTION:
            guardian = _go_on(config, command, runs, number)
        else:
            guardian = _start(config, command, runs, given, by_survivor=option == "--succeed")
            if begun:
                guardian.begin(begun)
    except StartError as error:
        os.write(2, f"guardian: {error}\n".encode("utf-8", "backslashreplace"))
        return error.code
    guardian.run()
    return 0


def _root(program: str) -> str:
    """The folder that the packages of ``program``, a main.py, are in."""
    return os.path.dirname(os.path.dirname(os.path.dirname(program)))


def _parse(arguments: list[str]) -> tuple[str, str, int]:
    """Path, option, and its number."""
    if len(arguments) == 1:
        return arguments[0], "", -1
    if len(arguments) == 2 and arguments[1] in ("--check", "--succeed"):
        return arguments[0], arguments[1], -1
    if len(arguments) == 3 and arguments[1] == handover.OPTION and arguments[2].isascii() and arguments[2].isdigit():
        return arguments[0], arguments[1], int(arguments[2])
    raise StartError(_USAGE, 2)


def _occupy_standard_descriptors() -> None:
    """Whoever started us may have closed 0, 1 or 2: nothing else may get these numbers."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)


def _check(config: Config) -> None:
    """What a start would find out, as far as it can be seen beside a guardian that runs: in its run folder."""
    if not os.path.isdir(config.run):
        raise StartError(f"run = {config.run!r}: an existing folder is accepted", 2)


def _enter(run: str) -> None:
    try:
        os.chdir(run)
    except OSError as error:
        raise StartError(f"run = {run!r}: {error.strerror}; an existing folder is accepted", 2) from None


def _start(config: Config, command: list[str], runs: str, given: list[socket.socket], *, by_survivor: bool) -> Guardian:
    lock = files.lock()
    try:
        if not by_survivor:
            files.unsay_stopping()
        elif files.is_stopping():
            raise StartError("everything here is being stopped", 100)
        table = files.read(files.TABLE)
        if by_survivor and not table:
            raise StartError("nothing is left here to be succeeded", 100)
        before = predecessor.recorded(table)
        if before.template is not None:
            pidfd.end(before.template.pid, before.template.born)  # by itself it does so only if nobody has stopped it
        survivors = Survivors()
        for slot in before.running():
            survivors.hold(slot.pid, slot.born)
        if len(survivors):
            return _succeed(config, command, runs, lock, before, survivors, given)
        files.sweep()
        try:
            return _begin(config, command, runs, lock, config.listen, set(), survivors, given)
        except (StartError, OSError):
            files.sweep()
            raise
    except OSError as error:
        raise StartError(f"{error.filename or config.run}: {error.strerror}", 1) from None


def _succeed(
    config: Config,
    command: list[str],
    runs: str,
    lock: int,
    before: predecessor.Predecessor,
    survivors: Survivors,
    given: list[socket.socket],
) -> Guardian:
    process.shed_limits(before.oom_score)
    # For any port (0), the one that the guardian before had.
    wanted = {
        name: (host, port or before.listen.get(name, (host, 0))[1]) for name, (host, port) in config.listen.items()
    }
    held = {name for slot in before.running() if slot.pid in survivors for name in slot.fds}
    guardian = _begin(config, command, runs, lock, wanted, held, survivors, given)
    guardian.adopt(before)
    return guardian


def _begin(
    config: Config,
    command: list[str],
    runs: str,
    lock: int,
    wanted: dict[str, tuple[str, int]],
    held: set[str],
    survivors: Survivors,
    given: list[socket.socket],
) -> Guardian:
    """``held``: names of listening sockets that survivors can bring; ``given``: those of the service manager."""
    logs = Logs(config.log, config.log_bytes)
    listening: dict[str, socket.socket] = {}
    for name, at in wanted.items():
        found = next((sock for sock in given if listeners.is_at(sock, *at)), None)
        if found is not None:
            given.remove(found)
            listening[name] = found
            if os.get_blocking(found.fileno()):
                # It was made so at this start, and survivors that accept from it hang until somebody connects.
                logs.write("WARNING", "the service manager hands over a socket that blocks: NonBlocking=yes", name=name)
                found.setblocking(False)
        elif name not in held:
            listening[name] = listeners.listen(name, *at)
    for sock in given:
        where = str(sock.getsockname())
        logs.write("WARNING", "a socket of the service manager is at no address of the configuration", address=where)
        sock.close()
    files.write(files.PID, b"%d\n" % os.getpid())
    children.become_subreaper()
    return Guardian(config, logs, command, lock, Gate(), listening, wanted, survivors, _manager(config), runs)


def _go_on(config: Config, command: list[str], runs: str, memory: int) -> Guardian:
    try:
        state = handover.take(memory)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StartError(f"{handover.OPTION} {memory}: no state of a guardian: {error!r}", 1) from None
    survivors = Survivors()
    survivors.restore(state.survivors)
    listening = {name: listeners.restore(fd) for name, fd in state.listening.items()}
    logs = Logs(config.log, config.log_bytes)
    gate = Gate(state.gate)
    # A newer configuration may want more than the version before has listened on: that is bound now.
    wanted = {**config.listen, **{name: sock.getsockname()[:2] for name, sock in listening.items()}}
    guardian = Guardian(config, logs, command, state.lock, gate, listening, wanted, survivors, _manager(config), runs)
    guardian.take_over(state)
    return guardian


def _manager(config: Config) -> Manager:
    """Whoever restarts us is told how we are; where nobody does, the environment may speak of somebody else's."""
    return Manager({} if config.by_survivors else os.environb)
