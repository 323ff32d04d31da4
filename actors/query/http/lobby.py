"""
Many connections that wait for what comes next, on one epoll(7) instance of their own.

A task that waits through trio costs two switches and a system call each time, as much as a small answer. Here what has
become readable is handed to a plain function, which usually does all there is to do; its task is woken only when that
needs to wait for something. The instance is one descriptor to trio, readable while anything in it is.

What this module does not do: it reads nothing itself, and keeps no deadlines.
"""

from __future__ import annotations

import select
from types import TracebackType
from typing import Generic, Protocol, TypeVar

import outcome
import trio

#: Served before others get their turn.
_AT_ONCE = 16

Work = TypeVar("Work")
Work_co = TypeVar("Work_co", covariant=True)


class Guest(Protocol[Work_co]):
    """Who waits."""

    def serve_now(self) -> Work_co | None:
        """
        The descriptor is readable, or has an error. None: done, wait on; else what the task is woken with. What this
        raises is raised in the task.
        """


class Lobby(Generic[Work]):
    """A context manager. :meth:`run` must run while anybody waits."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._guests: dict[int, tuple[trio.lowlevel.Task, Guest[Work]]] = {}

    def __enter__(self) -> Lobby[Work]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._epoll.close()

    async def wait(self, fd: int, guest: Guest[Work]) -> Work:
        """
        Wait until ``guest`` has work for this task.

        Args:
            fd: its descriptor, which must stay open meanwhile.

        Raises:
            OSError: the descriptor can't be waited for (epoll_ctl(2)).
        """
        self._epoll.register(fd, select.EPOLLIN)
        self._guests[fd] = trio.lowlevel.current_task(), guest

        def abort(raise_cancel: object) -> trio.lowlevel.Abort:
            self._leave(fd)
            return trio.lowlevel.Abort.SUCCEEDED

        work: Work = await trio.lowlevel.wait_task_rescheduled(abort)
        return work

    def _leave(self, fd: int) -> None:
        del self._guests[fd]
        self._epoll.unregister(fd)

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for fd, _ in self._epoll.poll(0, _AT_ONCE):
                task, guest = self._guests[fd]
                result: outcome.Outcome[Work]
                try:
                    work = guest.serve_now()
                except Exception as error:  # it is the task's, which is the guard of this connection
                    result = outcome.Error(error)
                else:
                    if work is None:
                        continue
                    result = outcome.Value(work)
                self._leave(fd)
                trio.lowlevel.reschedule(task, result)
