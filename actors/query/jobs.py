"""
Looks that readers want: which are under way, who waits for them, and what an answer says of them.

A job is one question about one path, and a look at each source that the path has to do with. Whoever asks while a job
for the same question is under way waits for the one that follows it, for what is under way may have passed what they
ask for; so there are never more than two of a question. A job is asked for again and again until it has ended.

What this module does not do: look, or know where a path is (:func:`parts` is told the sources).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import trio

from fustor.treestore.reader import SourceStatus
from protocols.looks import DONE, ENDED, REFUSED, WAITING, WHOLE, Enquiry, Findings, Look, Looked

#: Seconds between two times that a job is asked for.
AGAIN_SECONDS = 1.0

#: A question: view, components of the path, levels of children.
Question = tuple[str, tuple[bytes, ...], int | None]


@attrs.frozen
class JobLimits:
    """
    Attributes:
        looks: jobs at once, waiting ones too.
        sources: of one job.
        seconds: after which a job is given up.
    """

    looks: int = 64
    sources: int = 16
    seconds: float = 600.0


@attrs.frozen
class Part:
    """What a job wants of one source; path and depth as in :class:`~protocols.looks.Look`."""

    agent: str
    source: str
    path: bytes
    depth: int


def parts(sources: Iterable[SourceStatus], names: tuple[bytes, ...], depth: int | None) -> list[Part]:
    """What a question about the path of these components has to do with each source."""
    found = []
    for source in sources:
        mount = tuple([name for name in source.mount.encode().split(b"/") if name])
        if names[: len(mount)] == mount:
            below, levels = names[len(mount) :], depth
        elif mount[: len(names)] == names:
            below, levels = (), None if depth is None else depth - len(mount) + len(names)
        else:
            continue
        if levels is None or levels >= 0:
            path = b"/".join(below)
            found.append(Part(source.agent, source.source, path, WHOLE if levels is None else levels))
    return found


class Job:
    """
    Args:
        question: what it is about.
        wanted: of each source.

    Attributes:
        id: for people; empty: there is none, for the reason in ``refusal``.
        done: is set at its end.
    """

    def __init__(self, question: Question, wanted: list[Part], refusal: str = "") -> None:
        self.question = question
        self.wanted = wanted
        self.refusal = refusal
        self.id = "" if refusal else secrets.token_hex(8)
        self.done = trio.Event()
        self.said = {
            (p.agent, p.source): Looked(id=self.id, agent=p.agent, source=p.source, state=WAITING) for p in wanted
        }
        self.began: float | None = None
        if refusal:
            self.done.set()

    def looks(self, *, later: bool = False) -> list[Look]:
        """What is still to be asked for."""
        view = self.question[0]
        return [
            Look(id=self.id, view=view, agent=p.agent, source=p.source, path=p.path, depth=p.depth, later=later)
            for p in self.wanted
            if self.said[p.agent, p.source].state not in ENDED
        ]

    def heard(self, looked: Looked) -> None:
        """How far the look at one source is."""
        key = looked.agent, looked.source
        if key in self.said and self.said[key].state not in ENDED:
            self.said[key] = looked
            if all(said.state in ENDED for said in self.said.values()):
                self.done.set()

    def members(self) -> dict[str, Any]:
        """What the answer to its question says of it, as JSON members of the first node."""
        errors = [f"{said.agent}/{said.source}: {said.text}" for said in self.said.values() if said.state == REFUSED]
        done = [said for said in self.said.values() if said.state == DONE]
        whole = self.done.is_set() and len(done) == len(self.said) > 0
        return {
            "job_id": self.id or None,
            "job_pending": not self.done.is_set(),
            "job_error": self.refusal or "; ".join(errors) or None,
            "job_as_of": min(said.as_of_ns for said in done) / 1e9 if whole else None,
            "job_directories": sum(said.directories for said in self.said.values()),
            "job_skipped": sum(said.skipped for said in self.said.values()),
        }


class Jobs:
    """
    Args:
        say: tells the control actor something; False: it can't be told now.
        limits: of all jobs.
        counters: ``jobs``, ``jobs_done``, ``jobs_refused`` and ``jobs_given_up`` are counted here.
    """

    def __init__(self, say: Callable[[Look | Enquiry], bool], limits: JobLimits, counters: dict[str, int]) -> None:
        self._say = say
        self.limits = limits
        self._counters = counters
        self._running: dict[Question, Job] = {}
        self._waiting: dict[Question, Job] = {}
        self._enquiries: dict[str, trio.Event] = {}
        self._findings: dict[str, Findings] = {}
        self._closed = False
        for name in ("jobs", "jobs_done", "jobs_refused", "jobs_given_up"):
            counters.setdefault(name, 0)

    def __len__(self) -> int:
        return len(self._running) + len(self._waiting)

    def want(self, question: Question, wanted: list[Part]) -> Job:
        """The job that answers ``question`` as of now: a new one, or the one that waits to be begun."""
        waiting = self._waiting.get(question)
        if waiting is not None:
            return waiting
        refusal = ""
        if not wanted:
            refusal = "no source is known at this path yet"
        elif len(wanted) > self.limits.sources:
            refusal = (
                f"{len(wanted)} sources are below this path, {self.limits.sources} are accepted (query_look_sources)"
            )
        elif len(self) >= self.limits.looks:
            refusal = f"{len(self)} looks are under way (query_looks)"
        elif self._closed:
            refusal = "this process is stopping"
        job = Job(question, wanted, refusal)
        if refusal:
            self._counters["jobs_refused"] += 1
        elif question in self._running:
            self._waiting[question] = job
            self._ask(job, later=True)
        else:
            self._begin(job)
        return job

    def _begin(self, job: Job) -> None:
        self._counters["jobs"] += 1
        job.began = trio.current_time()
        self._running[job.question] = job
        self._ask(job)

    def _ask(self, job: Job, *, later: bool = False) -> None:
        for look in job.looks(later=later):
            self._say(look)  # what is lost is asked for again

    def hear(self, message: Look | Looked | Findings) -> None:
        """What the control actor says."""
        if isinstance(message, Looked):
            job = next((job for job in self._running.values() if job.id == message.id), None)
            if job is not None:
                job.heard(message)
                if job.done.is_set():
                    self._counters["jobs_done"] += 1
                    self._end(job)
        elif isinstance(message, Findings) and message.request in self._enquiries:
            self._findings[message.request] = message
            self._enquiries[message.request].set()

    def _end(self, job: Job) -> None:
        del self._running[job.question]
        follows = self._waiting.pop(job.question, None)
        if follows is not None:
            self._begin(follows)

    async def run(self) -> None:
        """Ask again and again, until cancelled."""
        while True:
            await trio.sleep(AGAIN_SECONDS)
            now = trio.current_time()
            for job in list(self._running.values()):
                assert job.began is not None
                if now - job.began > self.limits.seconds:
                    self._counters["jobs_given_up"] += 1
                    job.refusal = f"given up after {self.limits.seconds:g} s (query_look_seconds)"
                    job.done.set()
                    self._end(job)
                elif now - job.began >= AGAIN_SECONDS:
                    self._ask(job)

    async def enquire(self, what: str, view: str, seconds: float) -> tuple[dict[str, Any], ...] | None:
        """Rows about ``jobs`` or ``sessions`` of a view; None when the control actor says nothing in ``seconds``."""
        request = secrets.token_hex(8)
        answered = self._enquiries[request] = trio.Event()
        try:
            self._say(Enquiry(request=request, what=what, view=view))
            with trio.move_on_after(seconds):
                await answered.wait()
            found = self._findings.pop(request, None)
            return None if found is None else found.rows
        finally:
            del self._enquiries[request]

    def close(self) -> None:
        """Nobody waits any longer: everybody is answered with what is known, and the jobs are left to themselves."""
        self._closed = True
        for job in [*self._running.values(), *self._waiting.values()]:
            job.refusal = "this process is stopping"
            job.done.set()
        self._running.clear()
        self._waiting.clear()
