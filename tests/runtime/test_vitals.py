"""What the kernel says of real processes: of this very one, and never of its successor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fustor.runtime.vitals import ProcessGone, Vitals, oom_kills
from tests.support.sides import until


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", "import time; x = bytearray(50 << 20); print(flush=True); time.sleep(600)"],
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_a_process_is_measured(process: subprocess.Popen[bytes]) -> None:
    vitals = Vitals(process.pid)
    sample = vitals.sample()
    assert sample.rss_bytes > 50 << 20
    assert 50 << 20 < sample.own_bytes < sample.rss_bytes
    assert sample.fds >= 3
    assert sample.threads == 1
    process.send_signal(signal.SIGSTOP)
    until(lambda: vitals.sample().code == "T", "its stop")
    vitals.close()
    vitals.close()


def test_cpu_time_moves() -> None:
    vitals = Vitals(os.getpid())
    before = vitals.sample().cpu_ms
    until(lambda: sum(range(100_000)) and vitals.sample().cpu_ms > before, "CPU time")
    vitals.close()


def test_who_is_gone_is_gone(process: subprocess.Popen[bytes]) -> None:
    vitals = Vitals(process.pid)
    process.kill()

    def gone() -> bool:
        try:
            vitals.sample()
        except ProcessGone:
            return True
        return False

    until(gone, "its end, not reaped yet")
    process.wait()
    assert gone()
    vitals.close()
    with pytest.raises(ProcessGone):
        Vitals(process.pid)


def test_kills_for_want_of_memory_are_counted() -> None:
    assert oom_kills() >= 0
