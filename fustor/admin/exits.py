"""
Exit codes of the commands, and the errors that only the commands know.

::

    0   done
    1   this host, or what runs on it, failed
    2   the command, or a configuration, was wrong
    3   nothing runs in that state folder
    4   no such path, view or payload
"""

from __future__ import annotations

from enum import IntEnum

from fustor.runtime.config import ConfigFaults
from protocols.errors import ConfigError, FustorError, RequestError


class Exit(IntEnum):
    """Exit codes; part of the command line's contract."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_RUNNING = 3
    NOT_FOUND = 4


class NotRunningError(FustorError):
    """Nothing runs in the state folder; the operator can start it."""


class NotFoundError(FustorError):
    """What was named does not exist; the asker must name something else."""


def exit_code(error: FustorError) -> Exit:
    """The exit code that stands for ``error``."""
    if isinstance(error, NotRunningError):
        return Exit.NOT_RUNNING
    if isinstance(error, NotFoundError):
        return Exit.NOT_FOUND
    if isinstance(error, ConfigError | ConfigFaults | RequestError):
        return Exit.USAGE
    return Exit.FAILURE
