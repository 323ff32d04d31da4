"""Questions by their addresses: endpoints, views, states, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from actors.query.jobs import JobLimits, Jobs
from fustor.runtime.access import ApiKeys, make_key, write_key
from protocols.looks import DONE, LOOKING, REFUSED, Enquiry, Findings, Look, Looked
from tests.actors.query.model import (
    Build,
    without_extras,
)
from tests.actors.query.site import TREE, UNLISTED, Site


def test_the_predecessors_address_gives_the_same(site: Site) -> None:
    _, ours = site.ask("/fs/tree?path=/docs&view=main")
    _, theirs = site.ask("/api/v1/views/main/tree?path=/docs&on_demand_scan=false")
    assert without_extras(ours) == without_extras(theirs)


@pytest.mark.parametrize(
    ("target", "field"),
    [
        ("/fs/tree?path=x", "path"),
        ("/fs/tree?path=/..", "path"),
        ("/fs/tree?path=/%00", "path"),
        ("/fs/tree?max_depth=-1", "max_depth"),
        ("/fs/tree?recursive=maybe", "recursive"),
        ("/api/v1/views/main/search", "pattern"),
        ("/api/v1/views/main/search?pattern=a&limit=1001", "limit"),
        ("/api/v1/views/main/search?pattern=[z-a]", "pattern"),
    ],
)
def test_bad_parameters_are_400_and_named(site: Site, target: str, field: str) -> None:
    answer, body = site.ask(target)
    assert answer.status == 400
    assert body["field"] == field
    assert set(body) == {"error", "field", "value", "accepted"}


def test_unknown_views_and_endpoints_are_404_with_what_there_is(site: Site) -> None:
    for target in ("/fs/tree?view=nope", "/api/v1/views/nope/tree"):
        answer, body = site.ask(target)
        assert (answer.status, body["accepted"]) == (404, ["main", "other"])
    for target in ("/nope", "/fs/tree/", "/api/v1/views/main/jobs", "/api/v1/views/main/tree/x"):
        answer, body = site.ask(target)
        assert answer.status == 404
        assert "/fs/tree" in body["accepted"]


def test_a_view_without_a_store_answers_all_the_same(site: Site) -> None:
    answer, node = site.ask("/fs/tree?view=other")
    assert answer.status == 200
    assert (node["state"], node["known"], node["complete"], node["sources"]) == ("empty", False, False, [])
    assert (node["content_type"], node["path"], node["age"], node["as_of"]) == ("directory", "/", None, None)
    assert "children" not in node
    assert site.ask("/fs/tree?view=other&path=/x")[1]["known"] is False
    assert site.ask("/api/v1/views/other/search?pattern=a")[1] == []
    assert site.ask("/api/v1/views/other/stats")[1]["item_count"] == 0
    assert site.ask("/health")[1] == {"status": "ok", "views": {"main": "live", "other": "empty"}}


def test_stats(site: Site) -> None:
    _, body = site.ask("/api/v1/views/main/stats")
    assert (body["item_count"], body["total_files"], body["total_directories"], body["total_size"]) == (9, 5, 4, 26)
    assert body["state"] == "live"
    assert body["has_blind_spot"] is False
    assert set(body) >= {"latency_ms", "staleness_seconds", "oldest_item_path", "suspect_file_count", "logical_now"}


def test_the_index_names_the_endpoints(site: Site) -> None:
    _, body = site.ask("/")
    assert {"/fs/tree", "/api/v1/views/main/search", "/health"} <= set(body["endpoints"])


def test_states_and_reasons_of_real_stores(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    Build(path).write(TREE, state="degraded", complete=False, reasons=("12 directories unwatched",))
    site = Site(path)
    _, node = site.ask("/fs/tree?max_depth=0")
    assert (node["state"], node["complete"], node["sources"][0]["state"]) == ("stale", False, "degraded")
    assert node["sources"][0]["reasons"] == ["12 directories unwatched"]
    site.stores.close()
    path = str(tmp_path / "old")
    Build(path).write(TREE, clock=lambda: 1)
    site = Site(path)
    _, node = site.ask("/fs/tree?max_depth=0")
    assert (node["state"], node["sources"][0]["state"], node["complete"]) == ("stale", "stale", False)
    assert node["age"] > 60
    site.stores.close()


def test_a_source_never_heard_is_empty(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    Build(path).write(None, state=None)
    site = Site(path)
    answer, node = site.ask("/fs/tree")
    assert answer.status == 200
    assert node["state"] == "empty"
    assert site.ask("/fs/tree?path=/x")[1]["known"] is False
    site.stores.close()


class Agent:
    """Looks at once, and says what is asked for."""

    def __init__(self, state: str = DONE) -> None:
        self.state = state
        self.looks: list[Look] = []
        self.rows: tuple[dict[str, object], ...] = ()
        self.unheard = 0
        self.jobs = Jobs(self._hear, JobLimits(), {})

    def _hear(self, message: Look | Enquiry) -> bool:
        if isinstance(message, Look):
            self.looks.append(message)
            looked = Looked(id=message.id, agent=message.agent, source=message.source, state=self.state, text="no")
            trio.lowlevel.current_trio_token().run_sync_soon(self.jobs.hear, looked)
        else:
            self.unheard -= 1
            self.jobs.hear(Findings(request=message.request, rows=self.rows if self.unheard < 0 else ()))
        return True


def test_a_look_is_made_and_told_of(site: Site) -> None:
    agent = Agent()
    asked = Site(site.stores.views["main"].path, jobs=agent.jobs)
    answer, node = asked.ask("/fs/tree?path=/docs&max_depth=1&on_demand_scan=true")
    (look,) = agent.looks
    assert (look.view, look.path, look.depth) == ("main", b"docs", 1)
    assert (node["job_id"], node["job_pending"], node["job_error"]) == (look.id, False, None)
    assert (answer.headers.fields["X-Fustor-Job"], answer.headers.fields["X-Fustor-Job-Pending"]) == (look.id, "false")
    _, plain = asked.ask("/fs/tree?path=/docs&max_depth=1")
    assert (plain["job_id"], plain["job_pending"]) == (None, False)
    more = {"job_as_of", "job_directories", "job_error", "job_skipped"}
    assert without_extras(plain) == without_extras({name: node[name] for name in node if name not in more})
    asked.stores.close()


def test_a_look_that_is_refused_or_not_done_leaves_what_is_known(site: Site) -> None:
    for state, error, pending in ((REFUSED, "a/s: no", False), (LOOKING, None, True)):
        agent = Agent(state)
        asked = Site(site.stores.views["main"].path, jobs=agent.jobs)
        answer, node = asked.ask("/fs/tree?path=/docs&on_demand_scan=true&wait=0.01")
        assert answer.status == 200
        assert (node["job_pending"], node["known"]) == (pending, True)
        assert (node["job_error"] or "").endswith(error.removeprefix("a/s") if error else "")
        # Also to whoever has the same already: what became of the look is part of the answer.
        assert asked.ask("/fs/tree?path=/docs&on_demand_scan=true&wait=0.01", match=answer.etag)[0].status == 200
        asked.stores.close()


def test_nothing_known_is_looked_at_unasked(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    Build(path).write(TREE, unlisted=UNLISTED, state="building", complete=False)
    agent = Agent()
    site = Site(path, jobs=agent.jobs)
    _, node = site.ask("/fs/tree?path=/closed/x")
    assert node["known"] is False
    assert node["job_id"] == agent.looks[0].id
    assert agent.looks[0].path == b"closed/x"
    site.ask("/fs/tree?path=/docs")
    assert site.ask("/fs/tree?path=/docs/none")[0].status == 404
    assert len(agent.looks) == 1, "what is known needs no look"
    site.stores.close()


def test_jobs_and_sessions_are_what_the_control_actor_says(site: Site) -> None:
    agent = Agent()
    asked = Site(site.stores.views["main"].path, jobs=agent.jobs)
    agent.rows = ({"job_id": "1", "path": b"x/\xff"}, {"job_id": "2", "path": b"y"})
    _, body = asked.ask("/api/v1/views/main/jobs")
    assert [job["job_id"] for job in body["jobs"]] == ["1", "2"]
    assert (body["jobs"][0]["path"], body["jobs"][0]["path_b64"]) == ("x/\ufffd", "eC__")
    assert asked.ask("/api/v1/views/main/jobs/2")[1]["jobs"] == [{"job_id": "2", "path": "y"}]
    answer, body = asked.ask("/api/v1/views/main/jobs/3")
    assert (answer.status, body["field"]) == (404, "job_id")
    agent.unheard = 2  # another worker has just begun it
    assert asked.ask("/api/v1/views/main/jobs/1")[1]["jobs"][0]["job_id"] == "1"
    agent.rows = ({"agent": "a", "link": "online"},)
    assert asked.ask("/api/v1/views/main/sessions")[1]["sessions"] == [{"agent": "a", "link": "online"}]
    asked.stores.close()


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, bytes]:
    """Owner → key."""
    (tmp_path / "api").mkdir()
    made = {}
    for name, views, paths in (("all", (), ()), ("docs", ("main",), ("/docs",)), ("other", ("other",), ())):
        secret, key = make_key(name, views, paths)
        write_key(str(tmp_path / "api"), key)
        made[name] = secret.encode()
    return made


@pytest.fixture
def guarded(tmp_path: Path, keys: dict[str, bytes]) -> Site:
    path = str(tmp_path / "store")
    Build(path).write(TREE)
    return Site(path, keys=ApiKeys(str(tmp_path / "api"), is_open=True))


@pytest.mark.parametrize("key", [b"", b"wrong", b"docs"])
def test_who_has_no_key_learns_nothing(guarded: Site, key: bytes) -> None:
    for target in ("/fs/tree", "/fs/tree?path=x", "/api/v1/views/main/stats", "/fs/tree?view=nope", "/", "/nope"):
        for _ in range(2):
            answer, body = guarded.ask(target, key=key)
            assert (answer.status, body["field"]) == (401, "X-API-Key")
            assert "WWW-Authenticate" in answer.headers.fields
    assert guarded.ask("/health", key=key)[1] == {"status": "ok"}


def test_a_key_opens_what_it_is_for(guarded: Site, keys: dict[str, bytes]) -> None:
    for name, target, status in (
        ("all", "/fs/tree", 200),
        ("all", "/api/v1/views/main/stats", 200),
        ("docs", "/fs/tree?path=/docs", 200),
        ("docs", "/fs/tree?path=/docs/sub", 200),
        ("docs", "/fs/tree?path=/docs/a.txt", 200),
        ("docs", "/fs/tree?path=/docs/none", 404),
        ("docs", "/fs/tree", 403),
        ("docs", "/fs/tree?path=/docsx", 403),
        ("docs", "/fs/tree?path=/top.txt", 403),
        ("docs", "/fs/tree?path=/docs&view=other", 403),
        ("docs", "/api/v1/views/main/stats", 403),
        ("docs", "/api/v1/views/main/search?pattern=a", 403),
        ("docs", "/api/v1/views/main/search?pattern=c.txt&path=/docs/sub", 200),
        ("other", "/fs/tree?path=/docs", 403),
        ("other", "/fs/tree?view=other", 200),
    ):
        for _ in range(2):  # what is kept of a question is not kept of who asked it
            answer, body = guarded.ask(target, key=keys[name])
            assert answer.status == status, (name, target, body)
        if status == 403:
            assert set(body) == {"error", "field", "value", "accepted"}
        # In the meantime somebody else has asked the same.
        guarded.ask(target, key=keys["all"])
        assert guarded.ask(target, key=keys[name])[0].status == status


def test_a_tag_that_is_known_opens_nothing(guarded: Site, keys: dict[str, bytes]) -> None:
    tag = guarded.ask("/fs/tree?path=/docs", key=keys["all"])[0].etag
    assert guarded.ask("/fs/tree?path=/docs", tag, keys["docs"])[0].status == 304
    assert guarded.ask("/fs/tree?path=/docs", tag, keys["other"])[0].status == 403
    assert guarded.ask("/fs/tree?path=/docs", tag)[0].status == 401
