"""
Start the two sides in the background, and see them come up.

The processes started become the guardians of their side (exec keeps the pid) and outlive the command, unless it stops
them. Stopping is in ``processes``.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fustor.admin.processes import Held, guardian, wait_guardian
from fustor.admin.state import Side, State
from fustor.guardian.template import room
from protocols.errors import MachineError

#: Seconds that a side may take until its guardian runs.
START_SECONDS = 30.0
#: A log file larger than this is renamed before a start.
LOG_BYTES = 8 << 20


@contextmanager
def exclusive(state: State) -> Iterator[None]:
    """
    Only one command at a time starts or stops what belongs to a state folder; others wait here.

    The lock is on the folder itself: it ends with the process, and leaves no file.

    Raises:
        MachineError: it can't be taken.
    """
    try:
        descriptor = os.open(state.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise MachineError(f"the state folder {state.folder} can't be opened: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class Daemon:
    """
    One side, started by this process.

    Args:
        side: which; its configuration must exist.
    """

    def __init__(self, side: Side) -> None:
        self.side = side
        self.log = side.log / "guardian.log"
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_name("guardian.log.1"))
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self.started_at = time.monotonic()
        command = [sys.executable, "-P", "-m", f"fustor.{side.name}.daemon", "--config", str(side.config)]
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                command,
                cwd=side.folder,
                env={**os.environ, **room()},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self._held = Held(self._process.pid)

    def fileno(self) -> int:
        """Readable once it has ended."""
        return self._held.fileno()

    def wait_running(self) -> None:
        """
        Wait until its guardian runs.

        Raises:
            MachineError: it ended instead, or takes longer than START_SECONDS; says what it wrote last.
        """
        while True:
            found = guardian(self.side)
            if found is not None:
                found.close()
                return
            if self._held.wait(0.02):
                raise self.failed()
            if time.monotonic() - self.started_at > START_SECONDS:
                raise MachineError(f"{self.side.name} does not come up within {START_SECONDS:g} s; see {self.log}")

    def interrupt(self, seconds: float) -> None:
        """Ask it to end, whether or not it is a guardian yet, and wait up to ``seconds`` for that."""
        self._held.signal(signal.SIGTERM)
        self._held.wait(seconds)

    def ended(self) -> int | None:
        """Its exit code (negative: the signal), None while it runs."""
        return self._process.poll()

    def succeeded(self) -> bool:
        """It has ended, and another guardian has taken its place."""
        found = wait_guardian(self.side)
        if found is None:
            return False
        found.close()
        return True

    def failed(self) -> MachineError:
        """An error that says how it ended, and its last words."""
        code = self._process.wait()
        return MachineError(f"{self.side.name} ended with code {code}: {self._last_words()}\nAll of it: {self.log}")

    def _last_words(self) -> str:
        with self.log.open("rb") as file:
            file.seek(max(self._log_start, self.log.stat().st_size - 2000))
            words = file.read().decode("utf-8", "replace").strip()
        return "\n".join(words.splitlines()[-8:]) or "it said nothing"

    def close(self) -> None:
        """Let go of it (it goes on), collecting its exit code if it has ended."""
        self._process.poll()
        self._held.close()
        # Going on without us is what it is for: no warning that it still runs.
        self._process.returncode = self._process.returncode if self._process.returncode is not None else 0
