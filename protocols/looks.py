"""
Messages of a look: somebody who asks fs/tree wants a path looked at now, whatever events say of it.

Which travels where::

    query actor    → fusion control    Look, Enquiry
    fusion control → agent control     Look
    agent control  → watcher           Look
    and back                           Looked; and fusion control → query actor: Findings

Each may be lost: whoever wants to know asks again under the same id, which begins nothing anew. What is not here: how
it is done (``actors.watcher.looks``), or what a person may be told (``actors.query.jobs``).
"""

from __future__ import annotations

from typing import Any

from protocols.codec import message

#: Everything below a path.
WHOLE = -1

#: How far a look is: it waits, it is under way, everything is in the view, or it can't be had.
WAITING, LOOKING, DONE, REFUSED = "waiting", "looking", "done", "refused"
#: States that are no more left.
ENDED = frozenset({DONE, REFUSED})

#: What can be enquired: looks, or the links with the agents of a view.
JOBS, SESSIONS = "jobs", "sessions"


@message("look")
class Look:
    """
    Look at a path now.

    Attributes:
        id: chosen by whoever wants it; the same id at the same source is the same look.
        view: that is asked.
        agent, source: whose path it is.
        path: below the root of the source, without a slash at its beginning; empty for the root.
        depth: levels of children that are wanted; :data:`WHOLE`: all.
        epoch: session of the agent that is meant; 0 until Fusion passes it on.
        later: it is not to be begun yet, only known of: another one for the same question is under way.
    """

    id: str
    view: str
    agent: str
    source: str
    path: bytes
    depth: int = WHOLE
    epoch: int = 0
    later: bool = False


@message("looked")
class Looked:
    """
    How far a look is: said at its end, and whenever it is asked for again.

    Attributes:
        id, agent, source: of the look.
        state: ``waiting``, ``looking``, ``done`` or ``refused``.
        epoch: session of the agent; 0 within it.
        text: why it is refused.
        directories: that were looked at so far.
        skipped: those of them that could not be (the storage does not answer, no permission, a mount point).
        as_of_ns: done: every change made before this moment, by the clock of the source's host, is in the view as far
            as the look goes.
    """

    id: str
    agent: str
    source: str
    state: str
    epoch: int = 0
    text: str = ""
    directories: int = 0
    skipped: int = 0
    as_of_ns: int = 0


@message("enquiry")
class Enquiry:
    """Attributes: request: chosen by the asker, repeated in the answer; what: ``jobs`` or ``sessions``; view: of it."""

    request: str
    what: str
    view: str


@message("findings")
class Findings:
    """Attributes: request: of the enquiry; rows: plain data, the latest first; as many as fit into a message."""

    request: str
    rows: tuple[dict[str, Any], ...] = ()
