"""
The parent watch: a process whose guardian is gone finds the next one, or ends: nobody would restart, stop or reap it.

A daemon thread sleeps in poll(2) on a pidfd of the guardian, so it works whatever the event loop does, and costs
nothing. It can't act while C code holds the interpreter's lock: such a process acts when that code returns, and a
successor that does not want to wait so long kills it.

What this module does not do: find the next guardian (see ``rejoin``).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import threading
from collections.abc import Callable, Mapping

from fustor.runtime.leaving import KEPT
from fustor.runtime.rejoin import Plan, Rejoiner
from protocols.errors import ConfigError

#: Exit code of a process that ended itself because its guardian was gone.
EXIT_PARENT_GONE = 86


def exit_now() -> None:
    """End this process at once, without clean-up: every state of the data plane is safe against kill -9 anyway."""
    os.write(2, b"the guardian is gone: exiting\n")
    os._exit(EXIT_PARENT_GONE)


def watch_guardian(
    on_gone: Callable[[], None] = exit_now,
    environment: Mapping[str, str] = os.environ,
    on_joined: Callable[[socket.socket], None] | None = None,
) -> bool:
    """
    Watch the guardian, and its successors, from a thread of its own.

    Args:
        on_gone: called once, when the guardian is gone (or was so before we looked) and no successor takes us over;
            must be safe to call from another thread, at any time.
        environment: holds ``FUSTOR_GUARDIAN_PID``, the pid of the guardian, which is our parent, and what ``rejoin``
            needs.
        on_joined: called in that thread with the connection to each successor, and owns it; None: it is closed.

    Returns:
        False when there is no such variable: started by hand, there is nothing to watch.

    Raises:
        ConfigError: a variable holds nothing of use.
    """
    value = environment.get("FUSTOR_GUARDIAN_PID", "")
    if not value:
        return False
    if not value.isascii() or not value.isdigit() or not int(value):
        raise ConfigError("FUSTOR_GUARDIAN_PID", value, "the pid of the guardian that started this is accepted")
    rejoiner = _rejoiner(environment)
    guardian = int(value)
    try:
        descriptor = os.pidfd_open(guardian)
    except ProcessLookupError:
        descriptor = -1
    # A process that we are the child of has not been replaced by another one with its pid before we opened it.
    if descriptor >= 0 and os.getppid() != guardian:
        os.close(descriptor)
        descriptor = -1
    arguments = (descriptor, on_gone, rejoiner, on_joined)
    threading.Thread(target=_watch, args=arguments, name="parent watch", daemon=True).start()
    return True


def _rejoiner(environment: Mapping[str, str]) -> Rejoiner | None:
    plan = Plan.from_environment(environment)
    if plan is None:
        return None
    fds: dict[str, int] = {}
    # Whoever uses them says what is wrong with the variable. A keeper channel ends with its guardian.
    with contextlib.suppress(ValueError, AttributeError):
        given = json.loads(environment.get("FUSTOR_FDS", "{}")).items()
        # What was kept for us is not the guardian's any more.
        own = {name for name, _ in given if name == "keeper" or name.startswith(KEPT)}
        fds = {name: fd for name, fd in given if name not in own and type(fd) is int}
    return Rejoiner(plan, environment.get("FUSTOR_NAME", ""), environment.get("FUSTOR_TOKEN", ""), fds)


def _watch(
    descriptor: int,
    on_gone: Callable[[], None],
    rejoiner: Rejoiner | None,
    on_joined: Callable[[socket.socket], None] | None,
) -> None:
    while True:
        if descriptor >= 0:
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            poller.poll()
            os.close(descriptor)
        if rejoiner is None:
            break
        rejoiner.reap()
        joined = rejoiner.find()
        if joined is None:
            break
        descriptor = joined.descriptor
        if on_joined is None:
            joined.connection.close()
        else:
            on_joined(joined.connection)
    on_gone()
