"""What answers say of their view, as time passes; against a straightforward composition of the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors.query.face import FaceMaker
from actors.query.freshness import view_status
from fustor.treestore.reader import SourceStatus, Status

SECOND = 1_000_000_000
LEASE = 3.0


def source(index: int, arrived_ns: int, state: str = "live", **more: Any) -> SourceStatus:
    return SourceStatus(
        index, "agent %d", f"s{index}", "/", 1, 1, 9, state, 1_700_000_000_123_456_789 + index, True,
        arrived_ns=arrived_ns, **more,
    )  # fmt: skip


def expected(stored: Status, now_ns: int) -> dict[str, Any]:
    """The members, composed anew from the status."""
    status = view_status(stored.sources, now_ns, LEASE)

    def seconds(age: float | None) -> object:
        return None if age is None else pytest.approx(age, abs=0.000501)

    sources = [
        {
            "name": s.name, "agent": s.agent, "mount": s.mount, "state": s.state, "as_of": s.as_of,
            "age": seconds(s.age), "complete": s.complete, "reasons": list(s.reasons), "counts": s.counts,
        }
        for s in status.sources
    ]  # fmt: skip
    as_of = None if status.as_of is None else round(status.as_of, 6)
    return {
        "view": "main", "generation": stored.generation, "as_of": as_of, "age": seconds(status.age),
        "state": status.state, "complete": status.complete, "sources": sources,
    }  # fmt: skip


SOURCES: list[tuple[SourceStatus, ...]] = [
    (),
    (source(0, 5 * SECOND),),
    (source(0, 0),),  # came in an earlier boot: its age is not known
    (source(0, 5 * SECOND, "empty"),),
    (source(0, 5 * SECOND), source(1, 6 * SECOND)),
    (source(0, 7 * SECOND, reasons=('50 % of "it"',), counts={"gaps": 1}, ), source(1, 5 * SECOND, "degraded")),
    (source(0, 5 * SECOND), source(1, 0), source(2, 6 * SECOND)),
    (source(0, 5 * SECOND), source(1, 0, "empty")),
]  # fmt: skip
# Before the watermarks came, at that time, around the ends of both leases, and back.
MOMENTS = [4.0, 5.0, 5.0004, 7.9996, 8.0, 8.000000001, 8.7, 9.0, 9.000000001, 1000.0, 8.5, 5.5]


@pytest.mark.parametrize("sources", SOURCES)
def test_one_maker_says_at_any_time_what_a_new_one_would(sources: tuple[SourceStatus, ...]) -> None:
    stored = Status("u-u-i-d", 77, sources)
    maker = FaceMaker("main", stored, LEASE)
    for moment in MOMENTS:
        now = round(moment * SECOND)
        face = maker.at(now)
        members = json.loads(b"{" + face.members[1:] + b"}")
        want = expected(stored, now)
        assert members == want
        assert list(members) == list(want)
        headers = face.headers.fields
        assert list(headers) == [
            f"X-Fustor-{name}" for name in ("View", "Generation", "As-Of", "Age", "State", "Complete")
        ]
        assert headers["X-Fustor-View"] == "main"
        assert headers["X-Fustor-Generation"] == "77"
        assert headers["X-Fustor-State"] == face.state == members["state"]
        assert headers["X-Fustor-Complete"] == ("true" if face.complete else "false")
        assert face.complete == members["complete"]
        assert headers["X-Fustor-Age"] == ("" if members["age"] is None else f"{members['age']:.3f}")
        assert face.age == members["age"]
        assert headers["X-Fustor-As-Of"] == ("" if members["as_of"] is None else f"{members['as_of']:.6f}")
        assert (face.uuid, face.generation) == ("u-u-i-d", 77)


def test_a_view_without_a_store_is_empty() -> None:
    face = FaceMaker("main", None, LEASE).at(0)
    assert (face.state, face.as_of, face.age, face.complete, face.generation, face.uuid) == (
        "empty", None, None, False, 0, "",
    )  # fmt: skip
    assert json.loads(b"{" + face.members[1:] + b"}")["sources"] == []


def test_a_name_with_signs_of_formats_comes_out_as_it_is() -> None:
    stored = Status("u", 1, (source(0, SECOND),))
    face = FaceMaker("100%b %d %%", stored, LEASE).at(2 * SECOND)
    assert face.headers.fields["X-Fustor-View"] == "100%b %d %%"
    assert json.loads(b"{" + face.members[1:] + b"}")["view"] == "100%b %d %%"
