"""All that was found out in one run, and whether it is as it must be. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import attrs

from benchmarks.chaos.answers import Asked, End, Phase, Tally, by_phase, first, regressions, tally
from benchmarks.chaos.schedule import KINDS
from benchmarks.chaos.timeline import Mark
from benchmarks.figures import percentile
from benchmarks.sample import Sample, latencies

#: Names of the phases. In ``LOST`` all of the agent is killed, in ``DOWN`` all of Fusion; both until ``fustor up``.
STEADY, CHAOS, QUIET, LOST, DOWN, AGAIN = (
    "steady", "chaos", "quiet afterwards", "agent killed whole", "Fusion killed whole", "Fusion started again",
)  # fmt: skip
#: The asker whose answers make the state, and the one whose answers are long.
ROOT, WHOLE = "root", "whole"


@attrs.frozen
class Claims:
    """
    Attributes:
        checked: listings that said ``as_of`` and were compared with the ledger.
        lies: of those that were not so, what they claimed to contain and did not.
    """

    checked: int
    lies: tuple[str, ...]


@attrs.frozen
class Equality:
    """
    Attributes:
        phase: in which it was looked for.
        seconds: from its start until an answer claimed to contain all that was done before.
        missing, extra, wrong: entries that differed from the disk then.
        said: some of them.
    """

    phase: str
    seconds: float
    missing: int
    extra: int
    wrong: int
    said: str = ""


@attrs.frozen(slots=False)
class Found:
    """
    Attributes:
        phases, asked, ends, marks: what happened.
        rate: events a second of the steady phase.
        done: what was done how often, see :class:`~benchmarks.chaos.faults.Faults`.
        claims, equalities: what was compared.
        problems: what else was not as it must be, in words.
        running_seconds: from the end of the chaos until every payload said that it runs.
    """

    phases: Sequence[Phase]
    asked: Sequence[Asked]
    ends: Sequence[End]
    marks: Sequence[Mark]
    rate: float
    done: dict[str, int]
    claims: Claims
    equalities: Sequence[Equality]
    problems: Sequence[str]
    running_seconds: float

    @cached_property
    def tallies(self) -> dict[str, Tally]:
        """By phase."""
        parts = by_phase(self.asked, self.phases)
        return {name: tally(asked, self.ends, slow=WHOLE) for name, asked in parts.items()}

    @cached_property
    def back(self) -> list[Asked]:
        """Answers whose generation had gone back."""
        return regressions(self.asked)

    @cached_property
    def stale_seconds(self) -> float | None:
        """From the death of the whole agent until an answer says ``stale``."""
        start = next((phase.start for phase in self.phases if phase.name == LOST), None)
        return None if start is None else first((one for one in self.asked if one.asker != WHOLE), "stale", start)


def samples(found: Found) -> Iterator[Sample]:
    """The table of a run."""
    steady = found.tallies.get(STEADY)
    if steady is not None and steady.seconds:
        case = f"{found.rate:,.0f} events a second"
        yield Sample("answers that say live", 100 * steady.share("live"), "%", "more", case)
        yield from latencies(steady.seconds, case=case)
    case = CHAOS
    chaos = found.tallies[CHAOS]
    signals = {"kill": "killed", "stop": "stopped (SIGSTOP)", "stand": "stopped and continued"}
    for kind, words in signals.items():
        yield Sample(f"processes {words}", found.done.get(kind, 0), "", "", case)
    others = sum(count for kind, count in found.done.items() if kind in KINDS - signals.keys())
    yield Sample("other faults and orders", others, "", "", case)
    yield Sample("answers", chaos.answers, "", "", case)
    yield Sample("answers other than 200", chaos.other, "", "less", case)
    yield Sample("questions without an answer", chaos.unanswered, "", "less", case)
    yield Sample("answers that are no tree", chaos.invalid, "", "less", case)
    yield Sample("answers while there was no store", chaos.blank, "", "", case)
    yield Sample("connections refused", chaos.attempts.get("refused", 0), "", "less", case)
    yield Sample("connections that ended early", chaos.resets, "", "less", case)
    yield Sample("connections that ended within an answer", chaos.attempts.get("cut", 0), "", "less", case)
    yield Sample("connections that ended though no worker had died", len(chaos.unexplained), "", "less", case)
    yield Sample("new connections that ended because a worker was drained", len(chaos.drained), "", "less", case)
    yield Sample("questions asked again", chaos.retried, "", "less", case)
    yield Sample("generations gone back", len(found.back), "", "less", case)
    yield Sample("claims checked", found.claims.checked, "", "more", case)
    yield Sample("claims that were not so", len(found.claims.lies), "", "less", case)
    yield from latencies(chaos.seconds, case=case)
    if chaos.hung:
        worst = max(chaos.hung)
        yield Sample("connections of stopped workers: worst", worst * 1e3, "ms", "less", case)
        yield Sample("connections of stopped workers", len(chaos.hung), "", "", case)
    yield Sample("until everybody runs", found.running_seconds, "s", "less", QUIET)
    if found.stale_seconds is not None:
        yield Sample("until an answer says stale", found.stale_seconds, "s", "less", LOST)
    for one in found.equalities:
        yield Sample("until equal to the disk", one.seconds, "s", "less", one.phase)
        for what in ("missing", "extra", "wrong"):
            yield Sample(what, getattr(one, what), "entries", "less", one.phase)
    if (down := found.tallies.get(DOWN)) is not None:
        yield Sample("connections refused", down.attempts.get("refused", 0), "", "", DOWN)


def wrong(found: Found) -> list[str]:
    """What must not be, in words; empty when all is well. How long things take is no fault here."""
    said = list(found.problems)
    for name, one in found.tallies.items():
        faults = {
            "answers other than 200": one.other,
            "questions without an answer": 0 if name == DOWN else one.unanswered,
            "answers that are no tree": one.invalid,
            "connections refused": 0 if name == DOWN else one.attempts.get("refused", 0),
            "connections that ended though no worker had died": len(one.unexplained),
            "new connections that ended because a worker was drained": len(one.drained),
        }
        said += [f"{name}: {count} {what}" for what, count in faults.items() if count]
    if found.back:
        said.append(f"{len(found.back)} times a generation went back")
    if found.claims.lies:
        said.append(f"{len(found.claims.lies)} claims that were not so, the first: {found.claims.lies[0]}")
    if not found.claims.checked:
        said.append("no claim was checked")
    said += [f"{one.phase}: not equal to the disk: {one.said}" for one in found.equalities if one.said]
    return said


def p99(found: Found, phase: str) -> float:
    """Seconds, of the small answers of a phase."""
    return percentile(sorted(found.tallies[phase].seconds), 0.99)
