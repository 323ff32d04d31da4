"""
Work that kills whoever handles it: counted, and kept from being handled again.

::

    (unknown) ──died──► suspect ──died again──► quarantined ──release──► released ──died twice──► quarantined
                           └── not again within suspect_seconds ──► (unknown)

An *item* is what an actor wrote down before it handled it (a directory, a file, a batch), as text; a *group* is the
actors that may be handed the same items (all scanners of a source). Who dies with nothing in hand, is ended on purpose,
or waits for storage when it is ended, blames nothing: :func:`blames` decides.

A released item is remembered as long as the suspects are, for some actors have to ask for it again (``again``).

What this module does not do: read what an actor wrote, or a clock. ``now`` is in seconds since 1970: what is kept
outlives a boot. A clock that jumps makes suspects older or younger, and nothing else.
"""

from __future__ import annotations

import enum
import hashlib
import signal
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from protocols.bounds import positive
from protocols.errors import ConfigError, RequestError
from protocols.limits import CPU, FDS, MEMORY

#: Signals by which a process ends for what it did itself.
CRASHES = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGABRT,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGSYS,
        signal.SIGTRAP,
    }
)
#: Exit codes that say nothing about the work: stopped, refused, orphaned (``fustor.runtime.actor``).
_INNOCENT = frozenset({0, 2, 3})
#: Causes for which an item is blamed, whatever the exit status.
_ALWAYS = frozenset({"oom", "hang", MEMORY, CPU, FDS})

#: Characters of an item; a longer one can't be held.
ITEM_CHARACTERS = 16 << 10


def _from(low: int, high: int) -> Any:
    def check(instance: object, attribute: attrs.Attribute[Any], value: int) -> None:
        if not low <= value <= high:
            raise ConfigError(attribute.name, value, f"a number from {low} to {high} is accepted")

    return check


@attrs.frozen
class QuarantinePolicy:
    """
    When work is no longer handed out.

    Attributes:
        deaths: by the same item, from which it is quarantined.
        suspect_seconds: within which they count together.
        items: quarantined ones of one group, at most; above it further ones are tried on and on.
        suspects: items of this side that have killed and are not quarantined; above it the oldest are forgotten.
    """

    deaths: int = attrs.field(default=2, validator=_from(1, 100))
    suspect_seconds: float = attrs.field(default=3600.0, validator=positive)
    items: int = attrs.field(default=64, validator=_from(0, 4096))
    suspects: int = attrs.field(default=256, validator=_from(1, 65_536))


def blames(cause: str, code: int, number: int, *, waiting: bool) -> bool:
    """
    Whether the end of a process says something against the item that it was handling.

    Args:
        cause: as supervision tells it.
        code: exit code.
        number: of the signal that ended it; 0 for none.
        waiting: it was waiting for storage, in its own words or in the kernel's: a hang is no fault of the item then.
    """
    if cause == "hang":
        return not waiting
    if cause in _ALWAYS:
        return True
    if cause == "signal":
        return number in CRASHES
    return cause == "exit" and code not in _INNOCENT


class State(enum.Enum):
    """Where an item is. The value is what people and files see."""

    SUSPECT = "suspect"
    QUARANTINED = "quarantined"
    RELEASED = "released"


@attrs.define
class Case:
    """
    An item that has killed.

    Attributes:
        group: whose work it is.
        item: what it is.
        payload: who died by it last.
        how: it died, in words.
        deaths: so far.
        since: of the first death, or of the release.
        last: death.
    """

    group: str
    item: str
    state: State
    payload: str
    how: str
    deaths: int
    since: float
    last: float

    @property
    def id(self) -> str:
        """Short, for people to name it by: the same for the same item."""
        text = f"{self.group}\0{self.item}".encode("utf-8", "surrogateescape")
        return hashlib.blake2b(text, digest_size=5).hexdigest()

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return {"id": self.id, **attrs.asdict(self), "state": self.state.value}


@attrs.frozen
class Suspected:
    """It has killed, and is not quarantined yet."""

    case: Case


@attrs.frozen
class Quarantined:
    """From now on it is not handled any more."""

    case: Case


@attrs.frozen
class Full:
    """It should be quarantined, and its group has no room for more."""

    case: Case


Effect: TypeAlias = Suspected | Quarantined | Full


@attrs.define(eq=False)
class Quarantine:
    """
    All items of one side that have killed.

    Attributes:
        policy: bounds.
        cases: by (group, item), the one that killed or was released last at the end.
    """

    policy: QuarantinePolicy
    cases: dict[tuple[str, str], Case] = attrs.Factory(dict)

    def died(self, group: str, item: str, payload: str, how: str, now: float) -> Effect:
        """``payload`` has died by ``item``."""
        self.forget(now)
        case = self.cases.pop((group, item), None)
        if case is None or case.state is State.RELEASED:
            case = Case(group, item, State.SUSPECT, payload, how, 0, now, now)
        case.payload, case.how, case.last = payload, how[:1000], now
        case.deaths += 1
        self.cases[group, item] = case
        if case.state is State.QUARANTINED:
            return Quarantined(case)  # handed out just before: nothing is new
        if case.deaths < self.policy.deaths:
            self._bound()
            return Suspected(case)
        if len(self.items(group)) >= self.policy.items:
            self._bound()
            return Full(case)
        case.state = State.QUARANTINED
        return Quarantined(case)

    def release(self, item: str, now: float) -> Case:
        """
        Let an item be handled again; nothing when it has been let already.

        Args:
            item: its id.

        Raises:
            RequestError: it is not quarantined.
        """
        for key, case in self.cases.items():
            if case.id == item and case.state is State.RELEASED:
                return case
            if case.id == item and case.state is State.QUARANTINED:
                case.state, case.since, case.last, case.deaths = State.RELEASED, now, now, 0
                self.cases[key] = self.cases.pop(key)
                self._bound()
                return case
        raise RequestError("item", item[:64], f"the id of a quarantined item is accepted: {self._ids() or 'none is'}")

    def items(self, group: str) -> tuple[str, ...]:
        """What must not be handled, in a fixed order."""
        return self._of(group, State.QUARANTINED)

    def again(self, group: str) -> tuple[str, ...]:
        """What has been released."""
        return self._of(group, State.RELEASED)

    def forget(self, now: float) -> None:
        """Drop suspects and released items that are old."""
        oldest = now - self.policy.suspect_seconds
        for key, case in list(self.cases.items()):
            if case.state is not State.QUARANTINED and case.last < oldest:
                del self.cases[key]

    def plain(self) -> list[dict[str, Any]]:
        """Everything, for a file or for people, oldest first."""
        return [case.plain() for case in self.cases.values()]

    def restore(self, cases: Sequence[Mapping[str, Any]]) -> int:
        """
        What an earlier control actor kept.

        Returns:
            How many of them can't be used.
        """
        bad = 0
        for one in cases:
            try:
                case = Case(
                    str(one["group"]),
                    str(one["item"])[:ITEM_CHARACTERS],
                    State(one["state"]),
                    str(one["payload"]),
                    str(one["how"]),
                    int(one["deaths"]),
                    float(one["since"]),
                    float(one["last"]),
                )
            except (KeyError, ValueError, TypeError, AttributeError):
                bad += 1
                continue
            self.cases[case.group, case.item] = case
        self._bound()
        return bad

    def _of(self, group: str, state: State) -> tuple[str, ...]:
        return tuple(sorted(c.item for c in self.cases.values() if c.group == group and c.state is state))

    def _ids(self) -> str:
        return ", ".join(case.id for case in self.cases.values() if case.state is State.QUARANTINED)

    def _bound(self) -> None:
        """Above the bound the oldest that are not quarantined are forgotten."""
        loose = [key for key, case in self.cases.items() if case.state is not State.QUARANTINED]
        for key in loose[: max(0, len(loose) - self.policy.suspects)]:
            del self.cases[key]
