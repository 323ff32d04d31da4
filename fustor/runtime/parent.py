"""
The parent watch: a process whose guardian is gone must not live on, for nobody would restart, stop or reap it.

A daemon thread sleeps in poll(2) on a pidfd of the guardian, so it works whatever the event loop does, and costs
nothing. It can't act while C code holds the interpreter's lock: such a process ends when that code returns.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Mapping

from protocols.errors import ConfigError

#: Exit code of a process that ended itself because its guardian was gone.
EXIT_PARENT_GONE = 86


def exit_now() -> None:
    """End this process at once, without clean-up: every state of the data plane is safe against kill -9 anyway."""
    os.write(2, b"the guardian is gone: exiting\n")
    os._exit(EXIT_PARENT_GONE)


def watch_guardian(on_gone: Callable[[], None] = exit_now, environment: Mapping[str, str] = os.environ) -> bool:
    """
    Call ``on_gone`` once, in a thread of its own, when the guardian is gone or was so before we looked.

    Args:
        on_gone: must be safe to call from another thread, at any time.
        environment: holds ``FUSTOR_GUARDIAN_PID``, the pid of the guardian, which is our parent.

    Returns:
        False when there is no such variable: started by hand, there is nothing to watch.

    Raises:
        ConfigError: the variable holds no pid.
    """
    value = environment.get("FUSTOR_GUARDIAN_PID", "")
    if not value:
        return False
    if not value.isascii() or not value.isdigit() or not int(value):
        raise ConfigError("FUSTOR_GUARDIAN_PID", value, "the pid of the guardian that started this is accepted")
    guardian = int(value)
    try:
        descriptor = os.pidfd_open(guardian)
    except ProcessLookupError:
        descriptor = -1
    # A process that we are the child of has not been replaced by another one with its pid before we opened it.
    if descriptor >= 0 and os.getppid() != guardian:
        os.close(descriptor)
        descriptor = -1
    threading.Thread(target=_wait, args=(descriptor, on_gone), name="parent watch", daemon=True).start()
    return True


def _wait(descriptor: int, on_gone: Callable[[], None]) -> None:
    if descriptor >= 0:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        poller.poll()
        os.close(descriptor)
    on_gone()
