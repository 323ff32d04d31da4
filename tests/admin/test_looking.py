"""``--now``, without a Fusion; with one: tests/correctness/test_looks.py."""

from __future__ import annotations

from fustor.admin.client import TIMEOUT
from fustor.admin.looking import LOOK_SECONDS, look, patience, waiting
from fustor.admin.stat import freshness


def test_it_asks_for_a_look_and_waits_longer_than_the_look_may_take() -> None:
    assert look(True) == {"on_demand_scan": "true", "wait": "60"}
    assert look(False) == {}
    assert patience(True) > LOOK_SECONDS
    assert patience(False) == TIMEOUT
    with waiting(True), waiting(False):
        pass


def test_what_became_of_it_is_said() -> None:
    done = {"state": "live", "job_as_of": 1.0, "job_directories": 1200, "job_pending": False, "job_error": None}
    assert freshness(done).endswith("looked at now: 1,200 directories")
    pending = {**done, "job_as_of": None, "job_pending": True, "job_id": "7"}
    assert freshness(pending).endswith("still being looked at (job 7)")
    assert freshness({**pending, "job_pending": False, "job_error": "no"}).endswith("not looked at now: no")
    assert "looked at" not in freshness({"state": "live", "job_pending": False, "job_id": None})
