"""
From the command line to the loop: everything that has to be right before the first process is started.

Once it has the lock and the listening sockets, and nothing of a killed predecessor runs, ``loop.Guardian`` takes over.
"""

from __future__ import annotations

import os

from fustor.guardian import children, files, leftovers, listeners
from fustor.guardian.config import Config, load
from fustor.guardian.errors import StartError
from fustor.guardian.logs import Logs
from fustor.guardian.loop import Guardian


def guard(arguments: list[str]) -> int:
    """
    Run a guardian until it is stopped.

    Args:
        arguments: of the command line: the path of CONFIG.json.

    Returns:
        The exit code, see ``main``. What prevented the start was said on stderr.
    """
    _occupy_standard_descriptors()
    try:
        if len(arguments) != 1:
            raise StartError("usage: python -I -S fustor/guardian/main.py CONFIG.json", 2)
        config = load(arguments[0])
        _enter(config.run)
        files.lock()
        try:
            guardian = _prepare(config)
        except StartError:
            files.sweep()
            raise
    except StartError as error:
        os.write(2, f"guardian: {error}\n".encode("utf-8", "backslashreplace"))
        return error.code
    guardian.run()
    return 0


def _occupy_standard_descriptors() -> None:
    """Whoever started us may have closed 0, 1 or 2: nothing else may get these numbers."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)


def _enter(run: str) -> None:
    try:
        os.chdir(run)
    except OSError as error:
        raise StartError(f"run = {run!r}: {error.strerror}; an existing folder is accepted", 2) from None


def _prepare(config: Config) -> Guardian:
    logs = Logs(config.log, config.log_bytes)
    try:
        left_behind = leftovers.recorded(files.read(files.TABLE))
        if left_behind:
            killed, left = leftovers.end(left_behind)
            counts = {"processes": len(left_behind), "killed": killed, "left": left}
            logs.write("WARNING", "the guardian before this one was killed", **counts)
        files.sweep()
        files.write(files.PID, b"%d\n" % os.getpid())
        children.become_subreaper()
    except OSError as error:
        raise StartError(f"{error.filename or config.run}: {error.strerror}", 1) from None
    listening = {name: listeners.listen(name, host, port) for name, (host, port) in config.listen.items()}
    return Guardian(config, logs, listening)
