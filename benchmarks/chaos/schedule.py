"""
What is done to a Fusion and an agent, step by step: from a seed, the same for the same arguments.

Steps come in *decks*. One deck has every kind of fault, every process of both sides killed alone and stopped, some
pairs, and all of each side and of both but one; its order is drawn anew each time. What lasts (a silent link, a full
disk) ends one to three steps later, so that others happen meanwhile.

What this module does not do: look whether anybody is there to be hit.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Collection, Iterator
from typing import Literal, get_args

import attrs

#: Side and name of a process.
Who = tuple[str, str]
GUARDIAN, CONTROL, TEMPLATE = "guardian", "control", "template"
#: Everybody of a Fusion and an agent as ``fustor up`` makes them.
SIDES: dict[str, tuple[str, ...]] = {
    "fusion": (GUARDIAN, CONTROL, TEMPLATE, "view.main", "query.0", "query.1"),
    "agent": (GUARDIAN, CONTROL, TEMPLATE, "watcher.data", "scanner.data.0", "scanner.data.1", "syncer.data"),
}
EVERYBODY: tuple[Who, ...] = tuple((side, name) for side, names in SIDES.items() for name in names)
PAYLOADS = tuple(who for who in EVERYBODY if who[1] not in (GUARDIAN, CONTROL, TEMPLATE))

#: kill: SIGKILL. stop: SIGSTOP, for Fustor to find. stand: SIGSTOP, and SIGCONT after a while. restart, drain (and
#: resume): orders. reload: a configuration pushed. reexec: SIGHUP. cut, silence (until pass): of the link between the
#: control actors; the same with -data: of the one that data and their acknowledgements take. fill (until free): the
#: disk of the store. corrupt, rebuild: the store, while its view is drained.
Kind = Literal[
    "kill", "stop", "stand", "restart", "drain", "reload", "reexec", "cut", "silence", "pass", "cut-data",
    "silence-data", "pass-data", "fill", "free", "corrupt", "rebuild",
]  # fmt: skip
KINDS: frozenset[str] = frozenset(get_args(Kind))
#: What lasts, and what ends it.
ENDS: dict[Kind, Kind] = {"silence": "pass", "silence-data": "pass-data", "fill": "free"}
#: Pairs of a deck, of the 78 there are; the next deck takes the next ones.
_PAIRS = 5


@attrs.frozen
class Step:
    """
    Attributes:
        kind: what.
        victims: whom; empty when it hits no process.
        seconds: that pass afterwards (of a stand, a drain: for as long as it lasts).
    """

    kind: Kind
    victims: tuple[Who, ...] = ()
    seconds: float = 0.0

    @property
    def kills(self) -> int:
        """How many processes it kills."""
        return len(self.victims) if self.kind == "kill" else 0

    def __str__(self) -> str:
        return " ".join([self.kind, " + ".join("/".join(who) for who in self.victims)]).strip()


def schedule(seed: int, kills: int, *, kinds: Collection[str] = KINDS) -> list[Step]:
    """
    Whole decks, at least one, until there are as many ``kills``.

    Args:
        seed: of all choices.
        kills: processes killed, at least; 0 for one deck.
        kinds: those that are possible here. What ends another one comes with it.

    Raises:
        ValueError: kills are asked for, and there is no such kind; or a kind that is none.
    """
    if unknown := set(kinds) - KINDS:
        raise ValueError(f"kinds: {', '.join(sorted(unknown))}: accepted are {', '.join(sorted(KINDS))}")
    if kills and "kill" not in kinds:
        raise ValueError(f"kills: {kills}: without the kind kill there are none")
    draw = random.Random(seed)
    pairs = list(itertools.combinations(EVERYBODY, 2))
    draw.shuffle(pairs)
    turn = itertools.cycle(pairs)
    steps: list[Step] = []
    while True:
        deck = [step for step in _deck(draw, turn) if step.kind in kinds]
        draw.shuffle(deck)
        steps += _with_ends(deck, draw)
        if sum(step.kills for step in steps) >= kills:
            return steps


def _deck(draw: random.Random, pairs: Iterator[tuple[Who, Who]]) -> Iterator[Step]:
    def moment(most: float = 0.6) -> float:
        return round(draw.random() * most, 3)

    for who in EVERYBODY:
        yield Step("kill", (who,), moment())
    for _ in range(_PAIRS):
        yield Step("kill", next(pairs), moment())
    # A template succeeds nobody.
    left = {side: (side, draw.choice([name for name in names if name != TEMPLATE])) for side, names in SIDES.items()}
    for sides in (["fusion"], ["agent"], list(SIDES)):
        spared = [left[side] for side in sides]
        yield Step("kill", tuple(w for w in EVERYBODY if w[0] in sides and w not in spared), moment())
    for who in EVERYBODY:
        if who[1] == GUARDIAN:
            yield Step("stand", (who,), 0.5 + moment(2.0))
            yield Step("reexec", (who,), moment())
        elif who[1] != TEMPLATE:  # that one is stopped is found when it is needed
            yield Step("stop", (who,), moment(1.5))
    for who in PAYLOADS:
        yield Step("restart", (who,), moment())
    for name in ("query.0", "query.1"):
        yield Step("drain", (("fusion", name),), moment(1.0))
    one_each: tuple[tuple[Kind, Callable[[], float]], ...] = (
        ("reload", moment),
        ("cut", moment),
        ("silence", lambda: 0.2 + moment(4.0)),
        ("cut-data", moment),
        ("silence-data", lambda: 0.2 + moment(4.0)),
        ("fill", lambda: moment(2.0)),
        ("corrupt", moment),
        ("rebuild", moment),
    )
    for kind, seconds in one_each:
        yield Step(kind, seconds=seconds())


def _with_ends(deck: list[Step], draw: random.Random) -> list[Step]:
    """The same with the end of what lasts, one to three steps later, or at the end of all."""
    found: list[Step] = []
    due: list[tuple[int, Kind]] = []
    for step in deck:
        due = [(left - 1, end) for left, end in due]
        found += [Step(end) for left, end in due if not left]
        due = [(left, end) for left, end in due if left]
        found.append(step)
        if step.kind in ENDS:
            due.append((draw.randrange(1, 4) + 1, ENDS[step.kind]))
    return found + [Step(end) for _, end in due]
