"""Other questions than the plain one: nothing changed, headers only, two levels, paths only, a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from benchmarks.bench import Bench, Measure
from benchmarks.errors import WrongAnswerError
from benchmarks.figures import percentile
from benchmarks.sample import Sample
from benchmarks.subjects.base import Subject, Web
from benchmarks.subjects.fustor import Fustor
from benchmarks.trees import SMALL, SMALL_FILES
from benchmarks.web import NODE, Answer, Connection


@attrs.frozen
class _Question:
    """Attributes: target, method, headers: what is asked; status and nodes: the right answer; nodes -1: at least 2."""

    target: str
    status: int = 200
    nodes: int = -1
    method: str = "GET"
    headers: Mapping[str, str] = attrs.field(factory=dict)

    def check(self, answer: Answer) -> None:
        """Raises WrongAnswerError when it is not the right one."""
        found = answer.body.count(NODE)
        right = found >= 2 if self.nodes < 0 else found == self.nodes
        if answer.status != self.status or not right:
            raise WrongAnswerError(f"{self.method} {self.target}: {answer.status}, {found} nodes")


def run(subject: Subject, bench: Bench) -> Iterator[Sample]:
    """One client, one question after the other; every answer is checked."""
    assert subject.web is not None
    with subject.web.connect() as connection:
        for case, question in _questions(subject, subject.web, connection).items():
            durations = []
            for _ in range(bench.scale.looks):
                answer = connection.ask(question.target, question.method, question.headers)
                question.check(answer)
                durations.append(answer.seconds)
            durations.sort()
            yield Sample("p50", percentile(durations, 0.5) * 1e3, "ms", "less", case)
            yield Sample("p99", percentile(durations, 0.99) * 1e3, "ms", "less", case)


def _questions(subject: Subject, web: Web, connection: Connection) -> dict[str, _Question]:
    small = web.target(SMALL, max_depth=1)
    node = connection.node(small)
    file = str(node["children"][0]["path"]).lstrip("/")
    questions = {
        "20 files": _Question(small, nodes=SMALL_FILES + 1),
        "20 files, only_path": _Question(web.target(SMALL, max_depth=1, only_path="true"), nodes=SMALL_FILES + 1),
        "a file": _Question(web.target(file), nodes=1),
        "the root, max_depth=2": _Question(web.target("", max_depth=2)),
    }
    if isinstance(subject, Fustor):
        etag = connection.ask(small).headers["etag"]
        now = web.target(SMALL, max_depth=1, on_demand_scan="true")
        questions["20 files, looked at now"] = _Question(now, nodes=SMALL_FILES + 1)
        questions["20 files, HEAD"] = _Question(small, nodes=0, method="HEAD")
        questions["20 files, 304"] = _Question(small, status=304, nodes=0, headers={"If-None-Match": etag})
    return questions


MEASURE = Measure(
    "kinds",
    "Kinds of questions",
    "One client in Python, one question after the other; its own share is the same for all of them. 304, HEAD and "
    "a look of the agent at that moment: Fustor only.",
    run,
    lambda subject: subject.http,
)
