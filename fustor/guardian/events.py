"""
One epoll and its handlers. A bug in a handler is logged and counted, and ends nothing.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable

from fustor.guardian.logs import Logs


class Events:
    """
    Args:
        logs: where bugs are told.

    Attributes:
        faults: how many bugs there were.
    """

    def __init__(self, logs: Logs) -> None:
        self.faults = 0
        self._logs = logs
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}

    def watch(self, fd: int, handler: Callable[[], None]) -> None:
        """Call ``handler`` whenever ``fd`` is readable, until ``unwatch``."""
        self._epoll.register(fd, select.EPOLLIN)
        self._handlers[fd] = handler

    def unwatch(self, fd: int) -> None:
        """The opposite; to be called before ``fd`` is closed."""
        self._epoll.unregister(fd)
        del self._handlers[fd]

    def modify(self, fd: int, interest: int) -> None:
        """Wait for something else on a watched descriptor."""
        self._epoll.modify(fd, interest)

    def wait(self, seconds: float | None) -> None:
        """Wait (for ever: None), then call the handlers of what is ready."""
        for fd, _ in self._epoll.poll(seconds):
            # One handler may have closed what the next one was called for.
            handler = self._handlers.get(fd)
            if handler is not None:
                self.guarded(handler)

    def guarded(self, act: Callable[[], None]) -> None:
        """A bug in one act must not end the parent of everybody."""
        try:
            act()
        except Exception as error:
            self.fault(error)
            # What failed will be tried again at once: not in a busy loop.
            time.sleep(0.05)

    def fault(self, error: Exception) -> None:
        """Tell of a bug."""
        self.faults += 1
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f"{os.path.basename(place.tb_frame.f_code.co_filename)}:{place.tb_lineno}" if place else "?"
        self._logs.write("CRITICAL", f"bug: {type(error).__name__}: {error}", at=where)
