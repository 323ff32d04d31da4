"""
The ring around :mod:`protocols.quarantine`: what the dead were handling, what may not be handled, and the file of both.

What this module does not do: decide who is to blame, or start anything.
"""

from __future__ import annotations

import logging
import os
import time

import attrs
import trio

from fustor.runtime.durable import read_json, write_json
from fustor.runtime.handling import file_of, take
from fustor.runtime.payload import PayloadSpec
from protocols.errors import MachineError
from protocols.quarantine import Case, Effect, Full, Quarantine, QuarantinePolicy, Suspected

#: Bytes of the file that are read, at most.
_FILE_BYTES = 64 << 20


class Isolation:
    """
    Args:
        policy: bounds.
        path: of the file in which it is kept; empty: it is not.
        log: for what can't be kept.
        run: working directory of the payloads.
    """

    def __init__(self, policy: QuarantinePolicy, path: str, log: logging.Logger, run: str = ".") -> None:
        self.quarantine = Quarantine(policy)
        self._path = path
        self._log = log
        self._run = run
        self._changed = trio.Event()
        self._restore()

    def _restore(self) -> None:
        if not self._path:
            return
        try:
            kept = read_json(self._path, _FILE_BYTES)
            bad = self.quarantine.restore(list(kept["cases"])) if kept is not None else 0
        except (ValueError, TypeError, KeyError, MachineError) as error:
            self._log.error("what was quarantined is lost", extra={"error": str(error)})
            return
        if bad:
            self._log.error("some of what was quarantined is lost", extra={"cases": bad})

    def effective(self, spec: PayloadSpec) -> PayloadSpec:
        """``spec`` with what its payload must not handle, and what it may again."""
        if not spec.group:
            return spec
        known = {"quarantined": self.quarantine.items(spec.group), "again": self.quarantine.again(spec.group)}
        told = {key: list(items) for key, items in known.items() if items}
        return attrs.evolve(spec, config={**spec.config, **told}) if told else spec

    def handled(self, name: str) -> str:
        """What the process ``name``, which is gone, was handling; empty for nothing. Can be asked once."""
        found = take(os.path.join(self._run, file_of(name)))
        return "" if found is None else os.fsdecode(found[0] + found[1])

    def died(self, spec: PayloadSpec, item: str, how: str) -> Effect:
        """The payload of ``spec`` has died by ``item``."""
        self._changed.set()
        return self.quarantine.died(spec.group, item, spec.name, how, time.time())

    def release(self, item: str) -> Case:
        """
        Let the item with this id be handled again.

        Raises:
            RequestError: there is none.
        """
        self._changed.set()
        return self.quarantine.release(item, time.time())

    async def keep(self) -> None:
        """Write changes down, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            if not self._path:
                continue
            try:
                await trio.to_thread.run_sync(write_json, self._path, {"cases": self.quarantine.plain()})
            except MachineError as error:
                self._log.error("what is quarantined can't be kept", extra={"error": str(error)})


def readable(item: str) -> str:
    """An item for messages: bytes that are no UTF-8 are escaped."""
    return item.encode("utf-8", "backslashreplace").decode()


def told(effect: Effect, deaths: int) -> str:
    """An effect in words; ``deaths`` is the number that it takes."""
    case = effect.case
    item = readable(case.item)
    if isinstance(effect, Suspected):
        return f"{item}: death {case.deaths} of {deaths} that it takes: {case.how}"
    if isinstance(effect, Full):
        return f"{item}: death {case.deaths}, and no room in the quarantine of {case.group}: {case.how}"
    return f"{item} is quarantined as {case.id} after {case.deaths} deaths: {case.how}"
