"""
What the kernel says of a process, by descriptors that are kept open: cheap enough for all payloads once a second.

A kept descriptor below ``/proc/PID`` belongs to that very process: when it is gone reads fail with ESRCH, and never
show another one that got its number. Sources: proc_pid_stat(5), proc_pid_statm(5), proc_pid_fd(5).

What this module does not do: read what may wait for the process itself (its command line or environment, which wait for
its memory), or judge.
"""

from __future__ import annotations

import contextlib
import os

import attrs

from protocols.errors import FustorError

_TICK_MS = 1000 // os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
#: More than /proc/vmstat has: some 200 lines.
_VMSTAT_BYTES = 64 << 10


class ProcessGone(FustorError):  # noqa: N818 - says what is the case
    """The process has ended."""


@attrs.frozen
class Sample:
    """
    Attributes:
        code: state of the main thread, one letter.
        cpu_ms: user and system time so far.
        rss_bytes: resident.
        own_bytes: of these without mapped files: what would be free without it.
        fds: open descriptors; 0 when we may not look.
        threads: of the process.
    """

    code: str
    cpu_ms: int
    rss_bytes: int
    own_bytes: int
    fds: int
    threads: int


class Vitals:
    """
    Args:
        pid: of a process.

    Raises:
        ProcessGone: there is none.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fds: list[int] = []
        try:
            for name, flags in (("stat", 0), ("statm", 0), ("fd", os.O_DIRECTORY)):
                self._fds.append(os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC | flags))
        except OSError as error:
            self.close()
            raise ProcessGone(f"pid {pid}: {error.strerror}") from None

    def sample(self) -> Sample:
        """
        How it is now.

        Raises:
            ProcessGone: it has ended.
        """
        try:
            stat = os.pread(self._fds[0], 1024, 0)
            pages = os.pread(self._fds[1], 128, 0).split()
        except OSError as error:
            raise ProcessGone(f"pid {self.pid}: {error.strerror}") from None
        # The name, in parentheses, may hold anything; what follows the last one is fields from the third on.
        fields = stat[stat.rfind(b")") + 2 :].split()
        if len(fields) < 18 or len(pages) < 3 or fields[0] in (b"Z", b"X"):
            raise ProcessGone(f"pid {self.pid} has ended")
        fds = 0
        with contextlib.suppress(OSError):
            # Linux 6.2 and later give the number as the size; before it is 0, and one looks.
            fds = os.fstat(self._fds[2]).st_size or len(os.listdir(f"/proc/self/fd/{self._fds[2]}"))
        return Sample(
            code=fields[0].decode("ascii", "replace"),
            cpu_ms=(int(fields[11]) + int(fields[12])) * _TICK_MS,
            rss_bytes=int(pages[1]) * _PAGE,
            own_bytes=max(0, int(pages[1]) - int(pages[2])) * _PAGE,
            fds=fds,
            threads=int(fields[17]),
        )

    def close(self) -> None:
        """Let go of it. Idempotent."""
        while self._fds:
            os.close(self._fds.pop())


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory since boot; 0 when it does not say."""
    try:
        with open("/proc/vmstat", "rb", buffering=0) as file:
            _, found, rest = file.read(_VMSTAT_BYTES).partition(b"\noom_kill ")
        return int(rest.partition(b"\n")[0]) if found else 0
    except (OSError, ValueError):
        return 0
