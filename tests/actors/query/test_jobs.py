"""Jobs: what is asked for, who waits for what, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actors.query.jobs import AGAIN_SECONDS, Job, JobLimits, Jobs, Part, parts
from fustor.treestore.reader import SourceStatus
from protocols.looks import DONE, JOBS, LOOKING, REFUSED, WHOLE, Enquiry, Findings, Look, Looked

ONE = [Part("a", "s", b"x", WHOLE)]
QUESTION = ("main", (b"x",), None)


class Line:
    """Jobs, and what they have said."""

    def __init__(self, limits: JobLimits | None = None) -> None:
        self.said: list[Any] = []
        self.counters: dict[str, int] = {}
        self.jobs = Jobs(self._say, limits or JobLimits(), self.counters)

    def _say(self, message: Look | Enquiry) -> bool:
        self.said.append(message)
        return True

    def hear(self, job: Job, state: str, source: str = "s", text: str = "") -> None:
        looked = Looked(
            id=job.id,
            agent="a",
            source=source,
            state=state,
            text=text,
            directories=2,
            skipped=1,
            as_of_ns=5_000_000_000,
        )
        self.jobs.hear(looked)


def source(mount: str, name: str = "s") -> SourceStatus:
    return SourceStatus(0, "a", name, mount, 1)


@pytest.mark.parametrize(
    ("mount", "names", "depth", "found"),
    [
        ("/", (), None, [(b"", WHOLE)]),
        ("/", (b"x", b"\xff"), 2, [(b"x/\xff", 2)]),
        ("/", (b"x",), 0, [(b"x", 0)]),
        ("/projects", (b"projects", b"x"), 1, [(b"x", 1)]),
        ("/projects", (b"projects",), None, [(b"", WHOLE)]),
        ("/projects", (), None, [(b"", WHOLE)]),
        ("/projects", (), 1, [(b"", 0)]),
        ("/projects", (), 0, []),
        ("/projects", (b"other",), None, []),
    ],
)
def test_what_a_path_has_to_do_with_a_source(
    mount: str, names: tuple[bytes, ...], depth: int | None, found: list[tuple[bytes, int]]
) -> None:
    assert [(part.path, part.depth) for part in parts([source(mount)], names, depth)] == found


async def test_a_job_ends_when_every_source_has() -> None:
    line = Line()
    job = line.jobs.want(QUESTION, [*ONE, Part("a", "t", b"", 1)])
    assert [(look.source, look.path, look.depth) for look in line.said] == [("s", b"x", WHOLE), ("t", b"", 1)]
    line.hear(job, LOOKING)
    line.hear(job, DONE)
    assert job.members() == {
        "job_id": job.id,
        "job_pending": True,
        "job_error": None,
        "job_as_of": None,
        "job_directories": 2,
        "job_skipped": 1,
    }
    line.hear(job, DONE, "t")
    assert job.done.is_set()
    assert (job.members()["job_as_of"], job.members()["job_pending"]) == (5.0, False)
    assert len(line.jobs) == 0


async def test_a_source_that_refuses_is_named() -> None:
    line = Line()
    job = line.jobs.want(QUESTION, ONE)
    line.hear(job, REFUSED, text="the agent is not connected")
    members = job.members()
    assert (members["job_pending"], members["job_as_of"]) == (False, None)
    assert members["job_error"] == "a/s: the agent is not connected"


async def test_who_comes_later_waits_for_the_next_and_all_of_them_for_the_same() -> None:
    line = Line()
    first = line.jobs.want(QUESTION, ONE)
    second, third = line.jobs.want(QUESTION, ONE), line.jobs.want(QUESTION, ONE)
    assert second is third
    assert second is not first
    assert [(look.id, look.later) for look in line.said] == [(first.id, False), (second.id, True)]
    line.hear(first, DONE)
    assert [(look.id, look.later) for look in line.said[2:]] == [(second.id, False)]
    assert not second.done.is_set()
    line.hear(second, DONE)
    assert second.done.is_set()
    assert line.counters["jobs_done"] == 2


async def test_bounds_refuse_with_a_reason() -> None:
    line = Line(JobLimits(looks=1, sources=1))
    line.jobs.want(QUESTION, ONE)
    many = line.jobs.want(("main", (), None), ONE)
    wide = line.jobs.want(("main", (b"y",), None), [*ONE, *ONE])
    none = line.jobs.want(("main", (b"z",), None), [])
    for job, why in ((many, "query_looks"), (wide, "query_look_sources"), (none, "no source")):
        assert job.done.is_set()
        assert (job.members()["job_id"], job.members()["job_pending"]) == (None, False)
        assert why in job.members()["job_error"]
    assert line.counters["jobs_refused"] == 3


async def test_it_is_asked_for_again_until_it_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    line = Line(JobLimits(seconds=3 * AGAIN_SECONDS))
    job = line.jobs.want(QUESTION, ONE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.jobs.run)
        await job.done.wait()
        nursery.cancel_scope.cancel()
    assert {look.id for look in line.said} == {job.id}
    assert len(line.said) >= 3
    assert "given up" in job.members()["job_error"]
    assert (line.counters["jobs_given_up"], len(line.jobs)) == (1, 0)


async def test_nobody_is_kept_waiting_by_a_process_that_stops() -> None:
    line = Line()
    running, waiting = line.jobs.want(QUESTION, ONE), line.jobs.want(QUESTION, ONE)
    line.jobs.close()
    assert running.done.is_set()
    assert waiting.done.is_set()
    assert "stopping" in line.jobs.want(QUESTION, ONE).members()["job_error"]


async def test_an_enquiry_is_answered_or_given_up() -> None:
    line = Line()
    found: list[Any] = []

    async def enquire() -> None:
        found.append(await line.jobs.enquire(JOBS, "main", 60))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(enquire)
        await trio.testing.wait_all_tasks_blocked()
        (asked,) = line.said
        line.jobs.hear(Findings(request="another", rows=({"no": 1},)))
        line.jobs.hear(Findings(request=asked.request, rows=({"yes": 1},)))
    assert found == [({"yes": 1},)]
    assert await line.jobs.enquire(JOBS, "main", 0) is None
    line.jobs.hear(Findings(request=line.said[-1].request, rows=()))  # too late: nobody minds
