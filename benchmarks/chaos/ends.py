"""
When query workers end, and how: a thread that holds each of them.

What this module does not do: see one that lives for less than a look, which hardly accepted anything.
"""

from __future__ import annotations

import select
import threading
import time
from types import TracebackType

from benchmarks.chaos.answers import End, Manner
from benchmarks.chaos.lives import Lives
from fustor.admin.processes import Held

#: Milliseconds between two looks for new ones.
_LOOK_MS = 200


class Ends:
    """
    The ends of the query workers of a Fusion. A context manager.

    Args:
        lives: of its processes.

    Attributes:
        found: in order. Read it when the thread has ended.
    """

    def __init__(self, lives: Lives) -> None:
        self._lives = lives
        self._meant: dict[int, tuple[float, Manner]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ends", daemon=True)
        self.found: list[End] = []

    def __enter__(self) -> Ends:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join()

    def meant(self, pid: int, manner: Manner) -> None:
        """How this one is about to end; of whom nothing was said is ``killed``, and ``stopped`` is final."""
        if pid not in self._meant or self._meant[pid][1] != "stopped":
            self._meant[pid] = time.perf_counter(), manner

    def _run(self) -> None:
        held: dict[int, tuple[str, Held]] = {}
        poller = select.poll()
        while not self._stopped.is_set():
            for pid, (side, name) in self._lives.members().items():
                if side == "fusion" and name.startswith("query.") and pid not in held:
                    try:
                        held[pid] = name, Held(pid)
                    except ProcessLookupError:
                        continue
                    poller.register(held[pid][1], select.POLLIN)
            deadline = time.perf_counter() + _LOOK_MS / 1000
            while (left := deadline - time.perf_counter()) > 0:
                gone = [fd for fd, _ in poller.poll(left * 1000)]
                now = time.perf_counter()
                for pid, (name, one) in list(held.items()):
                    if one.fileno() in gone:
                        since, manner = self._meant.get(pid, (now, "killed"))
                        self.found.append(End(since, now, name, pid, manner))
                        poller.unregister(one)
                        one.close()
                        del held[pid]
        for _, one in held.values():
            one.close()
