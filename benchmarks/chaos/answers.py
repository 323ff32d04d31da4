"""
What came back for each question, and what is counted of it. Pure.

All moments are of one clock that never jumps (``time.perf_counter``, the same for all processes of a host).
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import attrs

#: How an attempt may fail. refused: nobody listened. reset, closed: the connection ended without a byte. kept: so did
#: one that had been used before, which a server may close just as the next request comes (RFC 9112, 9.5). cut: within
#: an answer. timeout: nothing came. malformed: something else than HTTP came.
Failure = Literal["refused", "reset", "closed", "kept", "cut", "timeout", "malformed"]
#: Those in which a connection ended.
ENDED = ("reset", "closed", "kept", "cut")
#: How a worker ended: hit by us, found stopped and killed by its shell, or by an order that lets it finish.
Manner = Literal["killed", "stopped", "ordered"]
#: Seconds between the end of a process and what is felt of it, or seen.
SLACK = 0.5
STATES = ("live", "building", "stale", "empty")


@attrs.frozen
class Asked:
    """
    One question, asked once more where its first attempt failed.

    Attributes:
        asker: who.
        start: when.
        seconds: until the last byte, both attempts together.
        status: of the answer; 0: there was none, also the second time.
        size: bytes of the body.
        failures: of its attempts.
        valid: its body was JSON, a node with state and generation.
        state, generation, as_of: of the node.
    """

    asker: str
    start: float
    seconds: float
    status: int
    size: int
    failures: tuple[str, ...] = ()
    valid: bool = True
    state: str = ""
    generation: int = 0
    as_of: float | None = None

    @property
    def end(self) -> float:
        """When the last byte had come."""
        return self.start + self.seconds

    def line(self) -> str:
        """As text."""
        return json.dumps(attrs.astuple(self))

    @classmethod
    def of(cls, line: str) -> Asked:
        """From :meth:`line`."""
        values: list[Any] = json.loads(line)
        values[5] = tuple(values[5])
        return cls(*values)


@attrs.frozen
class End:
    """
    Attributes:
        since: when it was hit, or told to.
        at: when a query worker ended.
        name, pid: whose.
        manner: how.
    """

    since: float
    at: float
    name: str
    pid: int
    manner: Manner


@attrs.frozen
class Phase:
    """
    Attributes:
        name: in words.
        start, end: from when until when.
        away: that nobody answers is no fault meanwhile.
    """

    name: str
    start: float
    end: float
    away: bool = False


def by_phase(asked: Iterable[Asked], phases: Sequence[Phase]) -> dict[str, list[Asked]]:
    """By name, each where it was asked; what overlaps a phase of nobody being there belongs to it."""
    found: dict[str, list[Asked]] = {phase.name: [] for phase in phases}
    for one in asked:
        for phase in sorted(phases, key=lambda phase: not phase.away):
            begins = phase.start <= one.start < phase.end
            if begins or (phase.away and one.start < phase.end and one.end > phase.start):
                found[phase.name].append(one)
                break
    return found


def regressions(asked: Iterable[Asked]) -> list[Asked]:
    """
    Answers of a lower generation than one that had come before they were asked for.

    Generation 0 is none: there is no store that could be read, and the answer says that it knows nothing.
    """
    answers = sorted((one for one in asked if one.status == 200 and one.generation), key=lambda one: one.start)
    coming: list[tuple[float, int]] = []
    highest = 0
    found = []
    for one in answers:
        while coming and coming[0][0] <= one.start:
            highest = max(highest, heapq.heappop(coming)[1])
        if one.generation < highest:
            found.append(one)
        heapq.heappush(coming, (one.end, one.generation))
    return found


def cause_of(one: Asked, ends: Iterable[End]) -> Manner | None:
    """
    Which end of a worker explains that an attempt failed; None: nobody ended meanwhile.

    A worker that had been stopped explains most: questions hang from then until it is found.
    """
    near = {end.manner for end in ends if one.start - SLACK <= end.at and end.since <= one.end + SLACK}
    order: tuple[Manner, ...] = ("stopped", "killed", "ordered")
    return next((manner for manner in order if manner in near), None)


@attrs.define
class Tally:
    """
    What is said of the answers of one phase.

    Attributes:
        statuses: status → how many.
        attempts: failure → how many attempts ended so.
        retried: questions that were asked twice.
        unanswered: that had no answer then either, but for those that were cut off within one twice.
        invalid: answers of status 200 that were no node.
        blank: answers without a store: there was none when the worker began.
        unexplained: questions of which an attempt broke off although no worker had ended.
        drained: of which a new connection broke off, and only workers had ended that were let finish.
        states: state → how many answers said so.
        seconds: of the answers at the first attempt, and of those asked again because a worker was killed.
        hung: the same of those whose worker had been stopped.
    """

    statuses: dict[int, int] = attrs.Factory(dict)
    attempts: dict[str, int] = attrs.Factory(dict)
    retried: int = 0
    unanswered: int = 0
    invalid: int = 0
    blank: int = 0
    unexplained: list[Asked] = attrs.Factory(list)
    drained: list[Asked] = attrs.Factory(list)
    states: dict[str, int] = attrs.Factory(dict)
    seconds: list[float] = attrs.Factory(list)
    hung: list[float] = attrs.Factory(list)

    @property
    def answers(self) -> int:
        """All of them."""
        return sum(self.statuses.values())

    @property
    def other(self) -> int:
        """Answers of another status than 200."""
        return self.answers - self.statuses.get(200, 0)

    @property
    def resets(self) -> int:
        """Attempts whose connection ended."""
        return sum(count for failure, count in self.attempts.items() if failure in ENDED)

    def share(self, state: str) -> float:
        """Of the answers that say ``state``, 0 to 1; 0 when there are none."""
        return self.states.get(state, 0) / max(1, sum(self.states.values()))


def tally(asked: Iterable[Asked], ends: Sequence[End], *, slow: str = "") -> Tally:
    """
    Count.

    Args:
        asked: of one phase.
        ends: of all query workers.
        slow: name of the asker whose answers are long: how long they take is not counted.
    """
    found = Tally()
    for one in asked:
        for failure in one.failures:
            found.attempts[failure] = found.attempts.get(failure, 0) + 1
        found.retried += bool(one.failures)
        found.unanswered += not one.status and set(one.failures) != {"cut"}
        if one.status:
            found.statuses[one.status] = found.statuses.get(one.status, 0) + 1
        if one.status == 200:
            found.invalid += not one.valid
            found.blank += one.valid and not one.generation
            found.states[one.state] = found.states.get(one.state, 0) + 1
        broken = {failure for failure in one.failures if failure in (*ENDED, "timeout")}
        manner = cause_of(one, ends) if broken else None
        if broken and manner is None:
            found.unexplained.append(one)
        if manner == "ordered" and broken != {"kept"}:
            found.drained.append(one)
        if one.status and one.asker != slow:
            (found.hung if manner == "stopped" else found.seconds).append(one.seconds)
    return found


def first(asked: Iterable[Asked], state: str, since: float) -> float | None:
    """Seconds from ``since`` until the first answer to a later question that says ``state``; None: there is none."""
    moments = [one.end for one in asked if one.start >= since and one.status == 200 and one.state == state]
    return min(moments) - since if moments else None


def spans(asked: Iterable[Asked]) -> Iterator[tuple[str, float, float]]:
    """State, start and end of the stretches in which answers said the same, in the order in which they came."""
    last, begin, end = "", 0.0, 0.0
    for one in sorted((one for one in asked if one.status == 200), key=lambda one: one.end):
        if one.state != last:
            if last:
                yield last, begin, one.end
            last, begin = one.state, one.end
        end = one.end
    if last:
        yield last, begin, end
