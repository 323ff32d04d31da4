"""
The actor's end of the lifeline, as a state machine: what runs, what was refused, who controls us, what to say.

Each Beat carries the whole state, so a control actor that has just started knows an adopted actor after one message,
and a lost message costs nothing.

What this module does not do: send, receive, read a clock, or run the configuration.
"""

from __future__ import annotations

from typing import Any

import attrs

from protocols.codec import decode
from protocols.looks import Findings, Look, Looked
from protocols.messages import Beat, Configure, Hello, Stop, Welcome

#: Bounds of the interval that a control actor may ask for, in milliseconds.
BEAT_MS = (20, 60_000)

#: Oldest and newest version of what a shell and its payloads agree on beside messages: environment, descriptors, keys
#: of configurations, exit codes. The newest is raised when a payload of before could not run under a shell of now, or
#: the other way round; the oldest when what it stands for is kept no more.
SHELL_VERSIONS = (1, 1)

#: Characters of an error in a Beat.
ERROR_CHARACTERS = 8_000


@attrs.define
class ActorLifeline:
    """
    Attributes:
        name, token, pid, software: who we are, as in Hello.
        incarnation: of the control actor that welcomed us last; empty before the first.
        beat_ms: milliseconds between two Beats.
        revision: the configuration that runs; 0 for none.
        refused: the revision refused last, 0 when the last one was accepted.
        error: why it was refused.
    """

    name: str
    token: str
    pid: int
    software: str
    incarnation: str = ""
    beat_ms: int = 1_000
    revision: int = 0
    refused: int = 0
    error: str = ""

    def hello(self) -> Hello:
        """The first words on a new connection."""
        return Hello(name=self.name, token=self.token, pid=self.pid, software=self.software, revision=self.revision)

    def beat(
        self,
        state: str,
        *,
        outstanding: bool = False,
        counters: dict[str, int] | None = None,
        gauges: dict[str, int] | None = None,
        facts: dict[str, str] | None = None,
    ) -> Beat:
        """The whole state, as :class:`~protocols.messages.Beat` describes it."""
        return Beat(
            name=self.name,
            token=self.token,
            pid=self.pid,
            revision=self.revision,
            state=state,
            refused=self.refused,
            error=self.error,
            outstanding=outstanding,
            counters=dict(counters or {}),
            gauges=dict(gauges or {}),
            facts=dict(facts or {}),
        )

    def receive(self, frame: bytes) -> Welcome | Configure | Stop | Look | Looked | Findings:
        """
        Take in one message of the control actor and return it.

        Raises:
            ProtocolError: it is none; nothing has changed.
        """
        message: Any = decode(frame, Welcome, Configure, Stop, Look, Looked, Findings)
        if isinstance(message, Welcome):
            self.incarnation = message.incarnation
            self.beat_ms = min(max(message.beat_ms, BEAT_MS[0]), BEAT_MS[1])
        return message  # type: ignore[no-any-return]

    def is_news(self, revision: int) -> bool:
        """Whether a configuration of this number must be looked at: it neither runs nor was it the last one refused."""
        return revision not in (self.revision, self.refused)

    def accept(self, revision: int) -> None:
        """This configuration runs from now on."""
        self.revision, self.refused, self.error = revision, 0, ""

    def refuse(self, revision: int, error: str) -> None:
        """This configuration can't be run; whatever ran before goes on."""
        self.refused = revision
        self.error = error if len(error) <= ERROR_CHARACTERS else error[: ERROR_CHARACTERS - 1] + "…"
