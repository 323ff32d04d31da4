"""What dies or hangs: until it is seen at Fusion, and until it works again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

from benchmarks.beats import Beats
from benchmarks.bench import Bench, Measure
from benchmarks.errors import WrongAnswerError
from benchmarks.eye import PAYLOADS, Eye
from benchmarks.sample import Better, Sample
from benchmarks.subjects.base import Subject
from benchmarks.subjects.fustor import Fustor
from benchmarks.web import until
from fustor.admin.state import State

#: Seconds between two questions, and that all may take.
_LOOK, _PATIENCE = 0.005, 60.0
#: Seconds in which counters of everything come to Fusion: a beat and a heartbeat, twice.
_SETTLE = 4.0


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """One system for deaths, hangs and a goodbye; one more whose agent falls silent."""
    assert isinstance(subject, Fustor)
    try:
        with bench.state() as folder:
            subject.start(bench.tree, folder)
            subject.wait_complete(bench.tree)
            assert subject.cluster is not None
            eye = Eye(State(subject.cluster.state))
            eye.wait_all()
            with Beats(eye.state) as beats:
                yield from _deaths(subject, eye, beats, bench)
                yield from _hangs(subject, eye, beats)
                yield from _controls(subject, eye, beats)
                yield from _guardians(subject, eye, beats)
            start = time.perf_counter()
            os.kill(subject.pids()["agent guardian"], signal.SIGTERM)
            until(lambda: eye.link()["link"] == "closed", "the goodbye", _PATIENCE, _LOOK)
            yield _seconds("goodbye seen", start, case="SIGTERM to an agent")
            eye.close()
            subject.stop()
        with bench.state() as folder:
            subject.start(bench.tree, folder)
            assert subject.cluster is not None
            eye = Eye(State(subject.cluster.state))
            eye.wait_all()
            pids = subject.pids()
            # As if its host were cut off: the guardian first, so that it replaces nobody.
            shell = [pids["agent guardian"], pids["agent control"]]
            start = time.perf_counter()
            try:
                for pid in shell:
                    os.kill(pid, signal.SIGSTOP)
                until(lambda: eye.link()["link"] == "lost", "the loss of the agent", _PATIENCE, _LOOK)
                yield _seconds("lost agent seen", start, case="an agent falls silent")
            finally:
                for pid in reversed(shell):
                    os.kill(pid, signal.SIGCONT)
            eye.close()
            subject.stop()
    finally:
        subject.stop()


def _seconds(metric: str, start: float, *, case: str, better: Better = "less") -> Sample:
    return Sample(metric, (time.perf_counter() - start) * 1e3, "ms", better, case)


def _silence(beats: Beats, eye: Eye, start: float, *, case: str) -> Sample:
    """The longest time without a heartbeat since ``start``, in dictated intervals."""
    return Sample(
        "longest silence", beats.longest(start) * 1e3 / eye.ask("status")["heartbeat_ms"], "intervals", "less", case
    )


def _deaths(subject: Fustor, eye: Eye, beats: Beats, bench: Bench) -> Iterator[Sample]:
    """kill -9 of each payload, one after the other, and what is looked at again because of it."""
    time.sleep(_SETTLE)  # what the walk has looked at is still being told
    before = eye.looked()
    time.sleep(2 * _SETTLE)
    yield Sample("entries looked at again", _again(eye, before), "entries", "less", case="nobody killed, for 8 s")
    for side, names in PAYLOADS.items():
        for name in names:
            eye.events()
            before, at = eye.looked(), time.monotonic()
            start = time.perf_counter()
            os.kill(subject.pids()[name], signal.SIGKILL)
            yield from _follow(eye, side, name, "exit", start, case="payload killed")
            eye.wait_all()
            subject.wait_complete(bench.tree)
            time.sleep(_SETTLE)
            yield Sample("entries looked at again", _again(eye, before), "entries", "less", case=f"{name} killed")
            yield _silence(beats, eye, at, case="payload killed")


def _again(eye: Eye, before: dict[tuple[str, int], int]) -> int:
    """Entries that scanners have looked at since ``before``."""
    return sum(count - before.get(process, 0) for process, count in eye.looked().items())


def _hangs(subject: Fustor, eye: Eye, beats: Beats) -> Iterator[Sample]:
    """One that does not move any more, on each side."""
    for side, name in (("fusion", "view.main"), ("local", "syncer.data")):
        eye.events()
        at = time.monotonic()
        start = time.perf_counter()
        os.kill(subject.pids()[name], signal.SIGSTOP)
        yield from _follow(eye, side, name, "hang", start, case="payload stopped (SIGSTOP)")
        eye.wait_all()
        yield _silence(beats, eye, at, case="payload stopped (SIGSTOP)")


def _follow(eye: Eye, side: str, name: str, sign: str, start: float, *, case: str) -> Iterator[Sample]:
    """When ``sign`` of trouble with a payload is at Fusion, and when it runs again."""
    seen = False
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        for event in eye.events():
            if (event["side"], event["payload"]) != (side, name):
                continue
            if event["kind"] == sign and not seen:
                if sign == "hang" and not event["evidence_characters"]:
                    raise WrongAnswerError(f"{name}: a hang without evidence")
                seen = True
                yield _seconds("seen with evidence" if sign == "hang" else "seen", start, case=case)
            elif seen and event["kind"] == "state" and event["text"].endswith("running"):
                yield _seconds("running again", start, case=case)
                return
        time.sleep(_LOOK)
    raise WrongAnswerError(f"{name}: {'not running again' if seen else 'nothing seen'} within {_PATIENCE:g} s")


def _controls(subject: Fustor, eye: Eye, beats: Beats) -> Iterator[Sample]:
    """Control actors: the next one has adopted every payload, and the agent beats."""
    for side in ("fusion", "agent"):
        for number, word in ((signal.SIGKILL, "killed"), (signal.SIGSTOP, "stopped (SIGSTOP)")):
            payloads = {name: pid for name, pid in subject.pids().items() if "." in name}
            link, incarnation = eye.link(), eye.ask("status")["incarnation"]
            at = time.monotonic()
            start = time.perf_counter()
            os.kill(subject.pids()[f"{side} control"], number)
            case = f"control actor {word}, {side}"
            if side == "fusion":
                until(lambda: eye.ask("status")["incarnation"] != incarnation, "the next one", _PATIENCE, _LOOK)  # noqa: B023
                eye.wait_payloads("fusion")
                yield _seconds("adopted and beating", start, case=case)
                eye.wait_agent()
                yield _seconds("agent back", start, case=case)
            else:
                until(lambda: eye.link()["epoch"] > link["epoch"], "the next one", _PATIENCE, _LOOK)  # noqa: B023
                eye.wait_agent()
                eye.wait_payloads("local")
                yield _seconds("adopted and beating", start, case=case)
            eye.wait_all()
            yield _silence(beats, eye, at, case=case)
            if {name: pid for name, pid in subject.pids().items() if "." in name} != payloads:
                raise WrongAnswerError("a payload did not survive the death of its control actor")


def _guardians(subject: Fustor, eye: Eye, beats: Beats) -> Iterator[Sample]:
    """Guardians: everybody else goes on under a successor."""
    for side in ("fusion", "agent"):
        before = subject.pids()
        guardian = before.pop(f"{side} guardian")
        at = time.monotonic()
        start = time.perf_counter()
        os.kill(guardian, signal.SIGKILL)
        until(lambda: subject.pids()[f"{side} guardian"] != guardian, "the next one", _PATIENCE, _LOOK)  # noqa: B023
        yield _seconds("succeeded", start, case=f"guardian killed, {side}")
        eye.wait_all()
        time.sleep(_SETTLE)
        yield _silence(beats, eye, at, case=f"guardian killed, {side}")
        after = subject.pids()
        if {name: after.get(name) for name in before} != before:
            raise WrongAnswerError("a process did not survive the death of its guardian")


MEASURE = Measure(
    "repair",
    "What dies or hangs",
    "As Fusion sees it, asked every 5 ms. A payload killed with SIGKILL: until its exit is an event at Fusion, and "
    "until it runs again (each of the seven once), and how many entries of the tree are looked at again (lstat) "
    "because of it; stopped with SIGSTOP: until the hang is seen with its evidence, and until it runs again. A "
    "control actor killed or stopped: until the next one has adopted every payload, with the same pids, and has "
    "heard from each (of an agent: and this is known at Fusion); Fusion's: until the agent is in session again, too, "
    "which comes back at a random moment of its heartbeat interval. A guardian killed: until its successor "
    "has written down that it is there; nobody else dies. During each of these, the longest time in which Fusion heard "
    "no heartbeat of the agent, in dictated intervals. An agent that is told to stop: until its goodbye "
    "(it stops its payloads first). Guardian and control actor of an agent stopped with SIGSTOP: until it is lost.",
    run,
    lambda subject: isinstance(subject, Fustor),
    "own",
)
