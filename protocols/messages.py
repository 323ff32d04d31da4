"""
Messages of the control plane.

Which travels where::

    agent control  → fusion control    Login, Heartbeat, Goodbye, Happenings, OrderResult, Chunk, WantDocument
    fusion control → agent control     LoginReply, HeartbeatReply, Order, Fetch, Document
    admin client   → fusion control    AdminRequest
    fusion control → admin client      AdminReply
    data actor     → control actor     Hello, Beat
    control actor  → data actor        Welcome, Configure, Stop
    anybody        → query actor       TreeRequest
    query actor    → asker             TreeReply (head), then raw body frames
"""

from __future__ import annotations

from typing import Any

from protocols.codec import message, record

# -- agent ↔ fusion -------------------------------------------------------------------------------------------------


@message("login")
class Login:
    """
    An agent's control actor introduces itself.

    Attributes:
        agent: the agent's id; Fusion binds it to the CURVE key of the connection.
        epoch: session epoch: grows with every start of an agent's control actor (persisted by the agent).
        nonce: repeated in the reply; tells replies to different logins apart.
        software: version of the program.
        sources: names of its sources.
        instance: drawn at random by each process: tells apart two that claim the same epoch (a copied state folder).
    """

    agent: str
    epoch: int
    nonce: str
    software: str
    sources: tuple[str, ...] = ()
    instance: str = ""


#: In the place of a source: where bundles are fetched, at both endpoints.
BUNDLES = ""


@record
class Endpoints:
    """
    Where one source sends its data: zmq endpoints of the view's PULL and PUB, and the view's CURVE public key. Under
    the name :data:`BUNDLES`, which is no source's: where a query worker answers.
    """

    source: str
    data: str
    acks: str
    server_key: str


@message("login-reply")
class LoginReply:
    """
    Attributes:
        outcome: ``accepted``, ``superseded`` (a later epoch of this agent is known) or ``refused``.
        reason: for people.
        epoch: the epoch that now holds.
        heartbeat_ms: interval in which heartbeats are wanted.
        endpoints: one per source that a view takes.
    """

    outcome: str
    nonce: str
    epoch: int
    reason: str = ""
    heartbeat_ms: int = 1000
    endpoints: tuple[Endpoints, ...] = ()


@record
class PayloadStatus:
    """
    One data actor as its control actor sees it.

    Attributes:
        name: unique within the shell (``scanner.data.0``).
        state: a state of the supervision table.
        pid: 0 when not running.
        restarts: how often it was started again.
        last_exit: cause of the last exit in words; empty for none.
        counters: monotone counts.
        gauges: levels.
        facts: what the actor said of itself (endpoint, version …).
        complaint: why it is not well (a refused configuration, a stall); empty when it is.
        cause: of the last exit, one of :data:`protocols.supervision.CAUSES`; empty for none.
        software: the version it said that it is; empty when it has not.
        revision: the configuration that it runs; 0 for none.
        vitals: what /proc says of it: ``rss_bytes``, ``memory_bytes`` (of these its own), ``cpu_ms`` (so far),
            ``cpu_permille`` (of one processor, in the last second), ``fds``, ``threads``; and its limits
            ``memory_limit`` and ``fds_limit`` (0: none).
    """

    name: str
    state: str
    pid: int
    restarts: int
    last_exit: str
    counters: dict[str, int] = {}  # noqa: RUF012
    gauges: dict[str, int] = {}  # noqa: RUF012
    facts: dict[str, str] = {}  # noqa: RUF012
    complaint: str = ""
    cause: str = ""
    software: str = ""
    revision: int = 0
    vitals: dict[str, int] = {}  # noqa: RUF012


@record
class ConfigurationStatus:
    """
    What an agent makes of the configuration that Fusion desires: three facts at once, and the last known good one.

    A revision of 0 with an empty digest is the agent's own file; a revision with an empty digest too, because Fusion
    said so.

    Attributes:
        desired, desired_digest: as it was told last.
        attempted, attempted_digest: what it tried last.
        outcome: what became of that: a value of :class:`protocols.desired.Outcome`.
        error: why it is not good.
        tries: lives of a control actor in which it was tried.
        running, running_digest: what the payloads are to run.
        good, good_digest: last known good.
    """

    desired: int = 0
    desired_digest: str = ""
    attempted: int = 0
    attempted_digest: str = ""
    outcome: str = ""
    error: str = ""
    tries: int = 0
    running: int = 0
    running_digest: str = ""
    good: int = 0
    good_digest: str = ""


@message("heartbeat")
class Heartbeat:
    """Attributes: agent, epoch as in the login; seq grows by one; rtt_us: the last round trip, 0 for unknown."""

    agent: str
    epoch: int
    seq: int
    rtt_us: int = 0
    payloads: tuple[PayloadStatus, ...] = ()
    configuration: ConfigurationStatus = ConfigurationStatus()


@message("heartbeat-reply")
class HeartbeatReply:
    """Attributes: outcome: ``ok``, ``login`` (log in again) or ``superseded``; seq: of the heartbeat; happenings: the
    highest number that Fusion has of this session; revision, digest: the configuration that is desired, 0 when Fusion
    has nothing to say about it; rest as LoginReply."""

    outcome: str
    seq: int
    epoch: int
    heartbeat_ms: int = 1000
    endpoints: tuple[Endpoints, ...] = ()
    happenings: int = 0
    revision: int = 0
    digest: str = ""


@message("goodbye")
class Goodbye:
    """The agent stops on purpose."""

    agent: str
    epoch: int
    reason: str = ""


# -- orders ---------------------------------------------------------------------------------------------------------


@message("order")
class Order:
    """
    Something to be done to a payload, once however often it comes.

    Attributes:
        id: chosen by whoever orders; the same id is the same order.
        number: of Fusion, growing.
        what: one of :data:`protocols.orders.KINDS`.
        payload: its name; empty for the whole side.
        args: of the kind.
        ttl_ms: how old it may be when it is begun. Its age counts from when the receiver sent the heartbeat ``beat``,
            by the receiver's own clock. 0 asks for the outcome and begins nothing.
        epoch: the session of the agent that is meant.
        beat: seq of the last heartbeat that Fusion had heard.
        by, role: who ordered.
    """

    id: str
    number: int
    what: str
    payload: str = ""
    args: dict[str, str] = {}  # noqa: RUF012
    ttl_ms: int = 0
    epoch: int = 0
    beat: int = 0
    by: str = ""
    role: str = ""


@message("order-result")
class OrderResult:
    """
    How far an order is; said on every change, and again whenever the order comes again.

    Attributes:
        agent, epoch: of the session.
        id: of the order.
        state: a value of :class:`protocols.orders.State`.
        text: for people.
        data: plain data that the kind yields (stacks, log lines, size of a diagnosis).
    """

    agent: str
    epoch: int
    id: str
    state: str
    text: str = ""
    data: dict[str, Any] = {}  # noqa: RUF012


@message("fetch")
class Fetch:
    """Fusion wants the piece at ``offset`` of what the order ``id`` has yielded; answered by one Chunk."""

    id: str
    epoch: int
    offset: int


@message("chunk")
class Chunk:
    """A piece of ``total`` bytes, at most :data:`CHUNK_BYTES`; ``total`` is -1 when there is nothing (any more)."""

    agent: str
    epoch: int
    id: str
    offset: int
    total: int
    data: bytes = b""


#: Bytes of one Chunk: so little that a heartbeat behind it is not late.
CHUNK_BYTES = 256 << 10


@record
class Happening:
    """
    Something worth telling about a payload.

    Attributes:
        number: 1, 2, 3, … within a life of a control actor.
        at_ns: wall clock of its host, for people; never compared.
        payload: which; empty for the side as a whole.
        kind: ``state``, ``exit``, ``hang``, ``evidence``, ``abandoned``, ``order``, ``side``, ``quarantine`` or a
            limit.
        text: for people.
        evidence: what was found (stacks, /proc, log lines).
    """

    number: int
    at_ns: int
    payload: str
    kind: str
    text: str
    evidence: str = ""


@message("happenings")
class Happenings:
    """News of an agent's supervision, in order; those that Fusion does not confirm are sent again."""

    agent: str
    epoch: int
    happenings: tuple[Happening, ...]


# -- configuration --------------------------------------------------------------------------------------------------


@message("want-document")
class WantDocument:
    """An agent needs the document of a revision that it was told of; answered by one Document."""

    agent: str
    epoch: int
    revision: int


@message("document")
class Document:
    """A whole configuration of the data side, TOML; at most :data:`CHUNK_BYTES`. ``epoch``: of the session."""

    epoch: int
    revision: int
    text: bytes


# -- administration -------------------------------------------------------------------------------------------------


@message("admin-request")
class AdminRequest:
    """Attributes: request: chosen by the asker, repeated in the reply; op: what to do; args: its arguments."""

    request: str
    op: str
    args: dict[str, Any] = {}  # noqa: RUF012


@message("admin-reply")
class AdminReply:
    """Attributes: request; ok; data: the answer; error: what is wrong and what to do, when not ok."""

    request: str
    ok: bool
    data: Any = None
    error: str = ""


# -- lifeline -------------------------------------------------------------------------------------------------------


@message("hello")
class Hello:
    """First words of a data actor on every new connection. ``token``: given to it when it was spawned."""

    name: str
    token: str
    pid: int
    software: str
    revision: int = 0


@message("beat")
class Beat:
    """
    State of a data actor, never an increment: any one of them tells everything.

    Attributes:
        name, token, pid: who.
        revision: the configuration that runs; 0 for none.
        refused: the revision that was refused last; 0 for none.
        error: why it was refused, or why the actor is not well.
        state: ``starting``, ``running``, ``waiting`` (for storage), ``draining``.
        outstanding: there is work, so some counter must move.
        counters: monotone counts of work done.
        gauges: levels (queue lengths, ages).
        facts: for people and for the control actor (``endpoint``).
    """

    name: str
    token: str
    pid: int
    revision: int
    state: str
    refused: int = 0
    error: str = ""
    outstanding: bool = False
    counters: dict[str, int] = {}  # noqa: RUF012
    gauges: dict[str, int] = {}  # noqa: RUF012
    facts: dict[str, str] = {}  # noqa: RUF012


@message("welcome")
class Welcome:
    """Answer to Hello and to each Beat: the incarnation of the control actor and how often it wants beats."""

    incarnation: str
    beat_ms: int = 1000


@message("configure")
class Configure:
    """A configuration; the actor answers with a Beat whose ``revision`` or ``refused`` is this revision."""

    revision: int
    config: dict[str, Any]


@message("stop")
class Stop:
    """Finish what is in hand and exit within ``deadline_ms``."""

    deadline_ms: int = 5000


# -- query over zmq -------------------------------------------------------------------------------------------------


@message("tree-request")
class TreeRequest:
    """
    The same question as ``GET /fs/tree``.

    Attributes:
        request: chosen by the asker, repeated in every part of the answer.
        op: ``tree``, ``stats`` or ``search``.
        view: empty for the only or default one.
        path: bytes, absolute.
        params: the other parameters by their HTTP names, as text.
    """

    request: str
    op: str
    view: str = ""
    path: bytes = b"/"
    params: dict[str, str] = {}  # noqa: RUF012


@message("tree-reply")
class TreeReply:
    """
    One part of an answer; the body frame follows it.

    Attributes:
        status: HTTP status code (200, 304, 400, 404).
        part: 0, 1, 2, …
        last: the body ends with this part. A body whose last part never comes is not whole.
        headers: freshness and ETag as in HTTP; on part 0 only.
    """

    request: str
    status: int
    part: int
    last: bool
    headers: dict[str, str] = {}  # noqa: RUF012
