"""Stores that are not there yet, that appear, that are replaced, that are nonsense."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.query import stores
from actors.query.body import BodyLimits, LongBody
from actors.query.fstree import tree
from actors.query.params import TreeQuery
from actors.query.stores import ViewStore
from fustor.treestore.environment import open_for_writing
from fustor.treestore.format import head_key
from tests.actors.query.model import Build, file_row

LOG = logging.getLogger("test")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        os.sched_yield()


def names(store: ViewStore) -> list[str]:
    body = tree(store, TreeQuery(()), "", BodyLimits()).body
    assert isinstance(body, bytes)
    return [child["name"] for child in json.loads(body).get("children", ())]


def test_a_store_that_appears_is_opened_and_one_that_is_replaced_is_opened_anew(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    counters: dict[str, int] = {}
    store = ViewStore("main", path, 60, counters, LOG)
    assert store.acquire() is None
    assert store.state() == "empty"
    os.mkdir(path)
    assert store.acquire() is None
    Build(path).write({b"one": file_row()})
    until(lambda: names(store) == ["one"])
    old = store.acquire()
    assert old is not None
    Build(str(tmp_path / "next")).write({b"two": file_row()})
    os.rename(path, tmp_path / "aside")
    assert names(store) == ["one"]  # nothing else is there yet
    os.rename(tmp_path / "next", path)
    until(lambda: names(store) == ["two"])
    # What is under way goes on in the store in which it began.
    assert old.snapshot.resolve((b"one",)).row is not None
    old.close()
    old.close()
    assert counters == {"store_opened": 2, "store_failures": 0}
    store.close()


def test_the_open_store_stays_when_its_folder_is_gone(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    Build(path).write({b"one": file_row()})
    store = ViewStore("main", path, 60, {}, LOG)
    assert names(store) == ["one"]
    os.rename(path, tmp_path / "aside")
    deadline = time.monotonic() + 0.6
    while time.monotonic() < deadline:
        assert names(store) == ["one"]
    store.close()


def test_nonsense_is_no_store_counted_and_logged_but_not_each_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data.mdb").write_bytes(b"nonsense" * 2000)
    counters: dict[str, int] = {}
    store = ViewStore("main", str(tmp_path), 60, counters, LOG)
    for _ in range(100):
        assert store.acquire() is None
    assert counters["store_failures"] == 1
    assert caplog.text.count("can't be read") == 1
    store.close()


def test_what_takes_the_place_of_nonsense_is_opened_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one worker goes on with the store before while another has the next one, and generations go back."""
    monkeypatch.setattr(stores, "_RETRY_NS", 10**15)  # the nonsense itself is not tried again
    path = tmp_path / "store"
    Build(str(path)).write({b"one": file_row()})
    counters: dict[str, int] = {}
    store = ViewStore("main", str(path), 60, counters, LOG)
    assert names(store) == ["one"]
    (tmp_path / "rubbish").write_bytes(b"nonsense" * 2000)
    (tmp_path / "rubbish").rename(path / "data.mdb")
    until(lambda: names(store) == ["one"] and counters["store_failures"] == 1)
    path.rename(tmp_path / "aside")
    Build(str(path)).write({b"two": file_row()})
    until(lambda: names(store) == ["two"])
    assert counters == {"store_opened": 2, "store_failures": 1}
    store.close()


def test_a_damaged_record_is_an_answer_that_knows_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = str(tmp_path / "store")
    Build(path).write({b"one": file_row()})
    environment = open_for_writing(path, map_size=1 << 30)
    with environment.env.begin(write=True, db=environment.tree) as txn:
        txn.put(head_key(1), b"short")
    environment.close()
    counters: dict[str, int] = {}
    store = ViewStore("main", path, 60, counters, LOG)
    answer = tree(store, TreeQuery(()), "", BodyLimits())
    assert isinstance(answer.body, bytes)
    assert (answer.status, json.loads(answer.body)["known"]) == (200, False)
    assert counters["store_failures"] == 1
    assert "run the check" in caplog.text
    store.close()


def test_freshness_is_computed_anew_as_time_passes(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    Build(path).write({b"one": file_row()})
    store = ViewStore("main", path, 0.2, {}, LOG)
    assert store.state() in ("live", "stale")
    until(lambda: store.state() == "stale")
    store.close()


def test_a_long_answer_that_nobody_wants_leaves_no_reader_behind(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    Build(path).write({b"d%d" % d: {b"f%d" % n: file_row() for n in range(30)} for d in range(30)})
    store = ViewStore("main", path, 60, {}, LOG)
    answer = tree(store, TreeQuery(()), "", BodyLimits(whole_bytes=100))
    assert isinstance(answer.body, LongBody)
    answer.close()
    answer.close()
    store.close()  # LMDB would complain about an open transaction
