"""
The program of this control actor and its guardian: what is known of it, proving it, and changing it.

The ring around :mod:`protocols.renewal`. The guardian writes down which program both run (``shell.json``, see
``fustor/guardian/programs.py``) and leaves one that dies, hangs or is not proved; here it is only read, and asked.

What this module does not do: bring programs, or wish for one (``converging`` does).
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable

import trio

import fustor
from fustor.guardian import programs
from fustor.guardian.programs import CONTROL, GUARDIAN
from fustor.runtime.evidence import last_lines
from fustor.runtime.keeper import Keeper
from fustor.runtime.pace import next_multiple
from fustor.runtime.program import program_at
from protocols.errors import MachineError, RequestError
from protocols.renewal import Move, Part, Proof, move

#: Of the state folder.
FILE = "shell.json"
#: Seconds between two looks at what is on trial, and until the guardian is asked again to change.
LOOK_SECONDS, AGAIN_SECONDS = 1.0, 5.0
#: Of its log, that are told when a program is left.
_EVIDENCE_LINES = 60
_DIGEST = re.compile("[0-9a-f]{64}")


def own_digest() -> str:
    """Of the bundle that this process runs; empty: it is what is installed."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(fustor.__file__)))
    name = os.path.basename(root)
    return name if _DIGEST.fullmatch(name) else ""


def software() -> str:
    """What this process says that it is: its version, and the beginning of its bundle's digest."""
    digest = own_digest()
    return f"{fustor.__version__}+{digest[:12]}" if digest else fustor.__version__


class Renewing:
    """
    Args:
        state: the side's state folder.
        keeper: asks the guardian.
        healthy: this control actor is in touch with the other side.
        faults: how often something in it has failed.
        trial_seconds: that a guardian has to be proved in; a control actor's trial the guardian looks at.
        proof_seconds: how long either has to be well.
        tell: tells people a text, with evidence.
        logs: folder of the logs, for that.
        log: for faults.
    """

    def __init__(
        self,
        state: str,
        keeper: Keeper,
        *,
        healthy: Callable[[], bool],
        faults: Callable[[], int],
        trial_seconds: float,
        proof_seconds: float,
        tell: Callable[[str, str], None],
        logs: str,
        log: logging.Logger,
    ) -> None:
        self._state = state
        self._keeper = keeper
        self._healthy = healthy
        self._faults = faults
        self._trial_seconds = trial_seconds
        self._tell = tell
        self._logs = logs
        self._log = log
        self._proofs = {CONTROL: Proof(proof_seconds), GUARDIAN: Proof(proof_seconds)}
        self._guardian_until = 0.0
        self._asked_at = -AGAIN_SECONDS
        self._poke = trio.Event()
        #: What the file was when it was synced last.
        self._synced: os.stat_result | None = None

    def needed(self) -> set[str]:
        """Digests of the bundles that have to be kept. Blocks."""
        found = self._read()
        parts = (found.control, found.guardian)
        return {os.path.basename(one) for part in parts for one in (part.program, part.before) if one} | {own_digest()}

    async def advance(self, wanted: str, tag: str) -> tuple[Move, str]:
        """
        Do what is next so that the shell runs the bundle ``wanted``; see :func:`protocols.renewal.move`. It may be the
        end of this process.
        """
        found = await trio.to_thread.run_sync(self._read)
        what, why = move(wanted, tag, self._part(found, CONTROL), self._part(found, GUARDIAN))
        now = trio.current_time()
        if what in (Move.CONTROL, Move.GUARDIAN) and now >= self._asked_at + AGAIN_SECONDS:
            self._asked_at = now
            name = CONTROL if what is Move.CONTROL else GUARDIAN
            folder = program_at(self._state, wanted)
            self._tell(f"the {name} changes to {_shown(wanted)}", "")
            self._guardian_until = now + self._trial_seconds
            try:
                await self._keeper.attempt(name, folder, tag)
            except RequestError as error:
                return Move.REFUSE, f"its guardian does not take it: {error}"
            except MachineError as error:
                self._log.error("the program of the shell can't be changed", extra={"error": str(error)})
            self._poke.set()
        return what, why

    async def run(self) -> None:
        """
        Prove what works, until cancelled.

        Raises:
            KeeperGone: the guardian is gone.
        """
        told: set[tuple[str, str, str]] = set()
        self._guardian_until = trio.current_time() + self._trial_seconds
        while True:
            self._poke = trio.Event()
            found = await trio.to_thread.run_sync(self._read)
            await trio.to_thread.run_sync(self._sync)
            for name in programs.PARTS:
                part = found.part(name)
                if part.left and (name, part.left, part.why) not in told:
                    told.add((name, part.left, part.why))
                    evidence = last_lines(os.path.join(self._logs, f"{name}.log"), _EVIDENCE_LINES)
                    what = f"bundle {_shown(os.path.basename(part.left))} of the {name}"
                    self._tell(f"{what} was left: {part.why}", evidence)
            if await self._prove(found):
                await next_multiple(LOOK_SECONDS)
            else:
                await self._wait()

    # -- inside -----------------------------------------------------------------------------------------------------

    async def _prove(self, found: programs.Programs) -> bool:
        """Whether something is left to be proved."""
        now, faults = trio.current_time(), self._faults()
        control, guardian = self._part(found, CONTROL), self._part(found, GUARDIAN)
        open_control = control.program and (control.trial or control.deaths > 0)
        open_guardian = guardian.program and (guardian.trial or guardian.deaths > 0)
        if open_control and self._proofs[CONTROL].holds(self._healthy(), faults, now):
            await self._keeper.prove(CONTROL)
        if open_guardian:
            counters = await self._keeper.status()  # it answers
            there = guardian.runs == guardian.program
            if self._proofs[GUARDIAN].holds(there, counters["faults"], now):
                await self._keeper.prove(GUARDIAN)
            elif guardian.trial and now >= self._guardian_until:
                self._guardian_until = now + self._trial_seconds
                await self._keeper.leave(GUARDIAN, f"it was not proved within {self._trial_seconds:g} s")
        return bool(open_control or open_guardian)

    async def _wait(self) -> None:
        """Until something may have to be proved."""
        async with trio.open_nursery() as nursery:

            async def succeeded() -> None:
                await self._keeper.wait_succession()
                nursery.cancel_scope.cancel()

            nursery.start_soon(succeeded)
            await self._poke.wait()
            nursery.cancel_scope.cancel()

    def _read(self) -> programs.Programs:
        path = os.path.join(self._state, FILE)
        try:
            return programs.read(path)
        except (OSError, ValueError) as error:
            self._log.error("it is not known what the shell is to run", extra={"file": path, "error": str(error)})
            return programs.Programs()

    def _sync(self) -> None:
        """The guardian must not wait for a disk, so we do; what a power cut takes, it takes all the same."""
        path = os.path.join(self._state, FILE)
        try:
            found = os.stat(path)
            if self._synced is None or not os.path.samestat(found, self._synced):
                for each, flags in ((path, os.O_RDONLY), (self._state, os.O_RDONLY | os.O_DIRECTORY)):
                    descriptor = os.open(each, flags | os.O_CLOEXEC)
                    try:
                        os.fsync(descriptor)
                    finally:
                        os.close(descriptor)
                self._synced = found
        except FileNotFoundError:
            return
        except OSError as error:
            self._log.warning("what the shell is to run can't be synced", extra={"file": path, "error": str(error)})

    def _part(self, found: programs.Programs, name: str) -> Part:
        part = found.part(name)
        return Part(
            program=os.path.basename(part.program),
            runs=own_digest() if name == CONTROL else os.path.basename(found.runs),
            trial=part.trial,
            deaths=part.deaths,
            left=os.path.basename(part.left),
            left_tag=part.left_tag,
            why=part.why,
            unproved=part.unproved,
            tries=part.tries,
        )


def _shown(digest: str) -> str:
    return f"{digest[:16]}…" if digest else "what is installed"
