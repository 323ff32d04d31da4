"""
What there is to know of a rollout, in one file.

What this module does not do: decide, or carry out.
"""

from __future__ import annotations

from typing import Any

import attrs

from fustor.runtime.durable import read_json
from protocols.errors import FustorError
from protocols.rollout import OPEN, Member, Phase, Rollout, RolloutPolicy, Standing

#: Of the file.
FORMAT = 1
#: What of an agent or Fusion gets a program.
WHAT = ("payloads", "shell", "all")
#: Bytes of the file: 100,000 agents.
_LARGEST = 64 << 20


@attrs.frozen
class Purpose:
    """
    Attributes:
        id: of the rollout.
        bundle: digest of the program; empty for what is installed.
        what: shall run it, one of :data:`WHAT`.
        reason: why.
        by, role: whose key started it.
        at: when, UTC, ISO 8601.
    """

    id: str
    bundle: str
    reason: str
    by: str
    role: str
    at: str
    what: str = "payloads"


@attrs.frozen(eq=False)
class Current:
    """
    The rollout that is under way, or was last.

    Attributes:
        purpose: what for.
        rollout: the machine.
    """

    purpose: Purpose
    rollout: Rollout


def content_of(current: Current) -> dict[str, Any]:
    """What is written down of it, for :func:`fustor.runtime.durable.write_json`."""
    rollout = current.rollout
    return {
        "format": FORMAT,
        "purpose": attrs.asdict(current.purpose),
        "policy": attrs.asdict(rollout.policy),
        "everyone": rollout.everyone,
        "phase": rollout.phase.value,
        "text": rollout.text,
        "borne": rollout.borne,
        "wave": rollout.wave,
        "members": {
            name: [member.standing.value, member.revision, member.before, member.text]
            for name, member in rollout.members.items()
        },
    }


def load(path: str, now: float) -> Current | None:
    """
    What was written down; None when there was nothing. Who was being asked is asked again.

    Raises:
        ValueError: not what we wrote.
        MachineError: it can't be read.
    """
    content = read_json(path, _LARGEST)
    if content is None:
        return None
    try:
        if content["format"] != FORMAT:
            raise ValueError(f"format {FORMAT} is accepted")
        members = {}
        for name, (standing, revision, before, text) in content["members"].items():
            where = Standing(standing)
            if where in OPEN and not revision:
                where = Standing.WAITING
            members[name] = Member(where, int(revision), int(before), str(text), now)
        rollout = Rollout(
            RolloutPolicy(**content["policy"]),
            everyone=bool(content["everyone"]),
            members=members,
            phase=Phase(content["phase"]),
            text=str(content["text"]),
            borne=int(content["borne"]),
            wave=int(content["wave"]),
        )
        return Current(Purpose(**content["purpose"]), rollout)
    except (KeyError, TypeError, AttributeError, FustorError) as error:
        raise ValueError(f"not a rollout: {error!r}") from None
