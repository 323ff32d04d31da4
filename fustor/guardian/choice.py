"""
The programs of this guardian and its control actor, kept: every change is written down before anything follows from it.

What this module does not do: start or kill anything; the loop does, and tells what became of it.
"""

from __future__ import annotations

import os

from fustor.guardian import programs
from fustor.guardian.errors import RefusedError
from fustor.guardian.logs import Logs
from fustor.guardian.programs import CONTROL, GUARDIAN, Part


class Choice:
    """
    Args:
        path: of shell.json; empty: what is installed runs, and nothing else is accepted.
        runs: folder of the program that this guardian runs; empty: what is installed.
        trial_seconds: for a control actor, until it has to be proved.
        logs: for everything.
    """

    def __init__(self, path: str, runs: str, trial_seconds: float, logs: Logs) -> None:
        self._path = path
        self._trial_seconds = trial_seconds
        self._logs = logs
        self._until: float | None = None
        try:
            self._programs = programs.read(path)
        except (OSError, ValueError) as error:
            logs.write("ERROR", f"{path} can't be used, what is installed runs: {error}")
            self._programs = programs.Programs()
        if self._programs.runs != runs:
            self._programs.runs = runs
            self._keep()

    # -- the control actor ------------------------------------------------------------------------------------------

    @property
    def on_trial(self) -> bool:
        """The program of the control actor is."""
        return self._programs.control.trial

    def control_program(self) -> str:
        """The folder of what is to be started; empty: what is installed."""
        part = self._programs.control
        if part.program and not os.path.isdir(part.program):
            self._leave(part, CONTROL, "its folder is gone")
        return part.program

    def control_runs(self, now: float) -> None:
        """One runs; ``now`` in seconds of the monotonic clock, as everywhere here."""
        if self.on_trial and self._until is None:
            self._until = now + self._trial_seconds

    def control_died(self, why: str, *, hung: bool = False, killed: bool = False) -> None:
        """See :meth:`fustor.guardian.programs.Part.died`."""
        part = self._programs.control
        if not part.program:
            return
        if part.died(why, hung=hung, killed=killed):
            self._left(part, CONTROL)
        self._keep()

    def overdue(self, now: float) -> bool:
        """A control actor on trial was not proved in time: its program is left, and it has to be ended."""
        if not self.on_trial or self._until is None or now < self._until:
            return False
        part = self._programs.control
        part.leave(f"it was not proved within {self._trial_seconds:g} s", unproved=True)
        self._left(part, CONTROL)
        self._keep()
        return True

    def wake_at(self) -> float | None:
        """When :meth:`overdue` wants to be asked; None: not before something happens."""
        return self._until if self.on_trial else None

    # -- requests ---------------------------------------------------------------------------------------------------

    def attempt(self, name: str, program: str, tag: str) -> None:
        """
        Run another program from now on.

        Raises:
            RefusedError: it is none, or can't be written down.
        """
        if program and not os.path.isfile(programs.main_of(program)):
            raise RefusedError("program", program, "the folder of a program with a shell in it is accepted, or nothing")
        if not self._path:
            raise RefusedError("program", program, "only what is installed runs here: `shell` is not set")
        part = self._programs.part(name)
        part.begin(program, tag)
        self._until = None
        self._logs.write("INFO", f"{name} is to run another program", program=program or "(installed)")
        if not self._keep():
            part.leave("it could not be written down", unproved=True)
            raise RefusedError("program", program, f"{self._path} can't be written", 1)

    def prove(self, name: str) -> None:
        """It works."""
        part = self._programs.part(name)
        if part.prove():
            self._logs.write("INFO", f"the program of {name} is proved", program=part.program or "(installed)")
            self._keep()

    def leave(self, name: str, why: str) -> None:
        """It does not work; without effect on what is installed."""
        part = self._programs.part(name)
        if part.program:
            self._leave(part, name, why)

    def would_not_start(self, why: str) -> None:
        """What this guardian was to change to."""
        if self._programs.guardian.trial:
            self._leave(self._programs.guardian, GUARDIAN, why)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _leave(self, part: Part, name: str, why: str) -> None:
        part.leave(why)
        self._left(part, name)
        self._keep()

    def _left(self, part: Part, name: str) -> None:
        self._until = None if name == CONTROL else self._until
        self._logs.write("ERROR", f"the program of {name} is left: {part.why}", program=part.left)

    def _keep(self) -> bool:
        if not self._path:
            return True
        try:
            programs.write(self._path, self._programs)
        except OSError as error:
            # What follows from it is done all the same; after a power cut it would be done once more.
            self._logs.write("ERROR", f"{self._path} can't be written: {error.strerror}")
            return False
        return True
