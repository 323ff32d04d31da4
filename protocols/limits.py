"""
What one process may use: configured limits, and a machine that judges readings of it.

A limit has two steps. Above ``warn`` of it the excess is *told*, once, and again when it is over. At the limit itself
the process is *ended*: whoever leaks does not stop by itself. The kernel holds a limit of its own a little above
(:attr:`ProcessLimits.data_bytes`, :attr:`ProcessLimits.open_files`), for a leak may be faster than the readings.

=========== ========================================= ===========================================================
what        reading                                   ended
=========== ========================================= ===========================================================
``memory``  resident memory of its own, bytes         at ``memory_bytes``
``fds``     open descriptors                          at ``fds``
``log``     bytes written to its log in a second      more than ``log_bytes_per_second`` in a row of readings
``cpu``     processors used, mean of ``cpu_seconds``  above ``cpu``, when no counter of its work moved meanwhile
=========== ========================================= ===========================================================

Who works hard and gets on is only told of, never ended.

What this module does not do: measure, signal, or read a clock. ``now`` is in seconds of a monotonic clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import attrs

from protocols.bounds import between, positive

#: What a process can have too much of; also causes of its end.
MEMORY, CPU, FDS, LOG = "memory", "cpu", "fds", "log"
LIMITS = (MEMORY, CPU, FDS, LOG)

#: Exit codes of an actor that could have no more memory, or no more descriptors (``fustor.runtime.actor``).
EXIT_MEMORY, EXIT_FDS = 4, 5

#: Above ``memory_bytes``: stacks of threads and what an allocator holds without using it.
DATA_ROOM = 256 << 20
#: Above ``fds``: for evidence, and for whoever goes on for a second.
FDS_ROOM = 64
#: Readings in a row of a log that grows too fast.
LOG_READINGS = 3
#: Share of a warning's threshold below which it is taken back.
CALM = 0.9


@attrs.frozen
class ProcessLimits:
    """
    What one process of a kind may use.

    Attributes:
        memory_bytes: resident memory of its own; mapped files (the tree store) do not count.
        fds: open descriptors.
        cpu: processors, above which it is told; without progress it is ended.
        cpu_seconds: over which that is measured.
        log_bytes_per_second: written to its log.
        warn: share of a limit from which it is told.
        nice: priority that it yields to others, see nice(2).
    """

    memory_bytes: int = attrs.field(default=1 << 30, validator=between(64 << 20, 1 << 46))
    fds: int = attrs.field(default=1024, validator=between(64, 1 << 20))
    cpu: float = attrs.field(default=0.95, validator=between(0.05, 4096))
    cpu_seconds: float = attrs.field(default=60.0, validator=positive)
    log_bytes_per_second: int = attrs.field(default=16 << 20, validator=between(1 << 10, 1 << 40))
    warn: float = attrs.field(default=0.8, validator=between(0.1, 1))
    nice: int = attrs.field(default=0, validator=between(0, 19))

    @property
    def data_bytes(self) -> int:
        """RLIMIT_DATA of the process (getrlimit(2))."""
        return self.memory_bytes + DATA_ROOM

    @property
    def open_files(self) -> int:
        """RLIMIT_NOFILE of the process (getrlimit(2))."""
        return self.fds + FDS_ROOM


@attrs.frozen
class LargeProcessLimits(ProcessLimits):
    """Those of kinds that hold a whole tree, or many connections: watcher, view, query."""

    memory_bytes: int = attrs.field(default=4 << 30, validator=between(64 << 20, 1 << 46))
    fds: int = attrs.field(default=16_384, validator=between(64, 1 << 20))


@attrs.frozen
class Reading:
    """
    A process at one moment.

    Attributes:
        memory_bytes: resident memory of its own.
        cpu_ms: CPU time so far.
        fds: open descriptors; 0 for unknown.
        log_bytes: size of its log.
        progress: its counters, as in its last beat; None before the first, while it starts.
    """

    memory_bytes: int
    cpu_ms: int
    fds: int
    log_bytes: int
    progress: Mapping[str, int] | None


@attrs.frozen
class Told:
    """Worth telling: ``what`` (of :data:`LIMITS`) is high, or is not any more."""

    what: str
    text: str


@attrs.frozen
class Exceeded:
    """A limit is reached: the process is to be ended, for ``what``."""

    what: str
    text: str


Finding = Told | Exceeded


@attrs.define(eq=False)
class Meter:
    """
    Judges the readings of one process.

    Attributes:
        limits: which hold; may be replaced at any time.
        high: what was told to be high, and is not over yet.
        last: the last reading, in words; empty before the first.
    """

    limits: ProcessLimits
    high: set[str] = attrs.Factory(set)
    last: str = ""
    #: (now, cpu_ms, counters) of the readings of one window, oldest first.
    _window: deque[tuple[float, int, dict[str, int]]] = attrs.Factory(deque)
    _log: tuple[float, int] | None = None
    _log_row: int = 0

    def read(self, reading: Reading, now: float) -> list[Finding]:
        """Judge one reading; at most one limit is exceeded by it."""
        limits = self.limits
        findings: list[Finding] = []
        memory, most = _size(reading.memory_bytes), _size(limits.memory_bytes)
        self.last = f"memory {memory}, {reading.fds} descriptors, cpu {reading.cpu_ms / 1000:.1f} s"
        self._level(findings, MEMORY, reading.memory_bytes, limits.memory_bytes, f"memory {memory}, limit {most}")
        self._level(findings, FDS, reading.fds, limits.fds, f"{reading.fds} descriptors, limit {limits.fds}")
        self._flood(findings, reading, now)
        self._spin(findings, reading, now)
        ended = [finding for finding in findings if isinstance(finding, Exceeded)]
        return [finding for finding in findings if isinstance(finding, Told)] + ended[:1]

    def _level(self, findings: list[Finding], what: str, value: float, limit: float, text: str) -> None:
        if value >= limit:
            findings.append(Exceeded(what, text))
        elif value >= limit * self.limits.warn:
            self._told(findings, what, text)
        elif value < limit * self.limits.warn * CALM:
            self._over(findings, what, text)

    def _flood(self, findings: list[Finding], reading: Reading, now: float) -> None:
        before, self._log = self._log, (now, reading.log_bytes)
        if before is None or now <= before[0]:
            return
        # A log that has outgrown its bound is emptied: all that is in it is new.
        grown = reading.log_bytes - before[1] if reading.log_bytes >= before[1] else reading.log_bytes
        rate, most = grown / (now - before[0]), self.limits.log_bytes_per_second
        text = f"log {_size(rate)}/s, limit {_size(most)}/s"
        self._log_row = self._log_row + 1 if rate > most else 0
        if self._log_row >= LOG_READINGS:
            findings.append(Exceeded(LOG, text))
        elif self._log_row or rate > most * self.limits.warn:
            self._told(findings, LOG, text)
        elif rate < most * self.limits.warn * CALM:
            self._over(findings, LOG, text)

    def _spin(self, findings: list[Finding], reading: Reading, now: float) -> None:
        window, limits = self._window, self.limits
        if reading.progress is None:
            return
        window.append((now, reading.cpu_ms, dict(reading.progress)))
        while len(window) > 2 and now - window[1][0] >= limits.cpu_seconds:
            window.popleft()
        since, used, counters = window[0]
        passed = now - since
        if passed < limits.cpu_seconds:
            return
        share = (reading.cpu_ms - used) / 1000 / passed
        text = f"cpu {share:.2f} processors over {passed:.0f} s, limit {limits.cpu:g}"
        if share < limits.cpu:
            if share < limits.cpu * CALM:
                self._over(findings, CPU, text)
        elif counters == reading.progress:
            findings.append(Exceeded(CPU, f"{text}, and no counter of its work moved"))
        else:
            self._told(findings, CPU, text)

    def _told(self, findings: list[Finding], what: str, text: str) -> None:
        if what not in self.high:
            self.high.add(what)
            findings.append(Told(what, text))

    def _over(self, findings: list[Finding], what: str, text: str) -> None:
        if what in self.high:
            self.high.discard(what)
            findings.append(Told(what, f"well again: {text}"))

    def exit_kind(self, kind: str, code: int, own_bytes: int) -> str:
        """
        Which limit a process ran into that has ended by itself.

        Args:
            kind: what its exit looks like: ``exit``, ``signal`` or ``oom``.
            code: its exit code.
            own_bytes: the most that it had resident, without mapped files.

        Returns:
            ``memory``, ``fds``, or ``kind`` when it was none.
        """
        if kind == "exit" and code in (EXIT_MEMORY, EXIT_FDS):
            return MEMORY if code == EXIT_MEMORY else FDS
        # C code that is refused memory ends the process in its own way, libzmq by SIGABRT.
        if kind == "signal" and own_bytes >= self.limits.memory_bytes:
            return MEMORY
        return kind


def _size(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
