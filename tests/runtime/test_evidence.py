"""Evidence about real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fustor.runtime.evidence import last_lines, proc_facts, size_of, stacks, tail


def test_facts_of_a_process_and_its_threads() -> None:
    facts = proc_facts(os.getpid())
    assert "State:" in facts
    assert f"thread {os.getpid()} " in facts
    assert proc_facts(2**22 + 1) == ""


def test_the_end_of_a_file(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(b"one\ntwo\n\xffthree\n")
    assert last_lines(str(log), 2) == "two\n\ufffdthree"
    assert tail(str(log), 100, since=8) == "\ufffdthree\n"
    assert tail(str(log), 100, since=1000).startswith("one")  # it was emptied meanwhile
    assert tail(str(tmp_path / "absent"), 10) == ""
    assert (size_of(str(log)), size_of(str(tmp_path / "absent"))) == (15, 0)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def run(setup: str) -> subprocess.Popen[bytes]:
        program = f"import faulthandler, signal; {setup}; print(flush=True)\nwhile True: signal.pause()"
        with (tmp_path / "x.log").open("ab") as out:
            process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=out)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize(
    ("setup", "writes"),
    [("faulthandler.register(signal.SIGUSR1)", True), ("signal.signal(signal.SIGUSR1, lambda *_: None)", False)],
)
async def test_stacks_are_awaited_in_the_log(
    tmp_path: Path, start: Callable[[str], subprocess.Popen[bytes]], setup: str, writes: bool
) -> None:
    log = tmp_path / "x.log"
    log.write_text("before\n")
    process = start(setup)
    since = size_of(str(log))
    process.send_signal(signal.SIGUSR1)
    text = await stacks(str(log), since, 20.0 if writes else 0.2)
    assert text.startswith("Current thread") == writes
    assert "before" not in text
