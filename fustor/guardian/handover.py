"""
What a guardian hands to the new version of itself through an execve: a JSON object in a memfd, and open descriptors.

The signals that matter are blocked before, and the new version unblocks them when its handlers stand: a SIGHUP in
between would end it. A SIGCHLD in between is lost, so the new version reaps first thing. Nothing is handed over while
survivors of an earlier guardian are awaited, or a program is being started.
"""

from __future__ import annotations

import json
import os
import signal

from fustor.guardian.table import Slot

#: The command line of the new version: ``main.py CONFIG.json --state-fd N``.
OPTION = "--state-fd"

#: Signals that are kept for the new version: blocked, they stay pending over execve(2).
HELD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2)


class State:
    """
    What has to be known.

    Attributes:
        lock, gate: descriptors.
        listening: name → descriptor.
        survivors: as :meth:`fustor.guardian.survivors.Survivors.as_json` gives them.
        slots: of the payloads.
        control: the control actor; None when none runs.
        channel: descriptor of its keeper channel; -1 when it has none.
        waiting: what could not be sent on it yet.
        policy: as :meth:`fustor.guardian.policy.ControlPolicy.as_json` gives it.
        counters: by name.
        began: when this guardian was started (monotonic clock).
        oom_score: its own.
    """

    def __init__(
        self,
        *,
        lock: int,
        gate: int,
        listening: dict[str, int],
        survivors: list[tuple[int, int, int]],
        slots: list[Slot],
        control: Slot | None,
        channel: int,
        waiting: list[str],
        policy: list[float | None],
        counters: dict[str, int],
        began: float,
        oom_score: int,
    ) -> None:
        self.lock = lock
        self.gate = gate
        self.listening = listening
        self.survivors = survivors
        self.slots = slots
        self.control = control
        self.channel = channel
        self.waiting = waiting
        self.policy = policy
        self.counters = counters
        self.began = began
        self.oom_score = oom_score

    def as_json(self) -> dict[str, object]:
        """Plain data."""
        slots = [slot.as_json() for slot in self.slots]
        return {**vars(self), "slots": slots, "control": self.control.as_json() if self.control else None}

    def descriptors(self) -> list[int]:
        """All that have to be inherited."""
        channel = [self.channel] if self.channel >= 0 else []
        return [self.lock, self.gate, *self.listening.values(), *(one[1] for one in self.survivors), *channel]


def execute(argv: list[str], state: State) -> None:
    """
    Become ``argv`` with ``state``. Returns only by an error.

    Args:
        argv: command line; the option is appended.
        state: its descriptors keep their numbers.

    Raises:
        OSError: the program can't be executed, or there is no room for the state: everything is as before.
    """
    fds = state.descriptors()
    memory = os.memfd_create("guardian", os.MFD_CLOEXEC)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        content = json.dumps(state.as_json()).encode()
        done = 0
        while done < len(content):
            done += os.write(memory, content[done:])
        os.lseek(memory, 0, os.SEEK_SET)
        for fd in (memory, *fds):
            os.set_inheritable(fd, True)
        os.execve(argv[0], [*argv, OPTION, str(memory)], os.environ)
    finally:
        for fd in fds:
            os.set_inheritable(fd, False)
        os.close(memory)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def take(memory: int) -> State:
    """
    The state in a memfd, which is closed. Its descriptors are not inherited any further.

    Raises:
        OSError, ValueError, KeyError, TypeError: it is none.
    """
    with open(memory, "rb") as file:
        data = json.load(file)
    state = State(
        lock=data["lock"],
        gate=data["gate"],
        listening=data["listening"],
        survivors=[(pid, fd, born) for pid, fd, born in data["survivors"]],
        slots=[Slot.from_json(slot) for slot in data["slots"]],
        control=Slot.from_json(data["control"]) if data["control"] is not None else None,
        channel=data["channel"],
        waiting=data["waiting"],
        policy=data["policy"],
        counters=data["counters"],
        began=data["began"],
        oom_score=data["oom_score"],
    )
    for fd in state.descriptors():
        os.set_inheritable(fd, False)
    return state
