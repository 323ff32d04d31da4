"""Who may connect: keys made, enrolled and revoked, with the files that Fusion reads."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fustor.admin.prepare import prepare
from fustor.admin.state import State
from fustor.runtime.keys import AuthorizedKeys, load_public, load_secret

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def state(tmp_path: Path, data: str) -> State:
    """Prepared, never started."""
    made = State(tmp_path / "state")
    prepare(made, data)
    return made


def lookup(state: State, public: str) -> tuple[str, str] | None:
    return AuthorizedKeys(str(state.fusion.keys / "authorized")).lookup(public)


def test_a_key_is_made_enrolled_and_revoked(state: State, run_fustor: Run, tmp_path: Path, data: str) -> None:
    where = ("--state", str(state.folder))
    made = run_fustor("keys", "new", "nas7", "--output", str(tmp_path), "--json")
    assert made.returncode == 0, made.stderr
    pair = load_secret(str(tmp_path / "nas7.key"))
    assert (pair.role, json.loads(made.stdout)["public"]) == ("agent", pair.public)
    assert load_public(str(tmp_path / "nas7.pub")).public == pair.public
    pub = str(tmp_path / "nas7.pub")
    assert run_fustor("keys", "enroll", pub, *where).stdout == "agent nas7 is enrolled\n"
    assert lookup(state, pair.public) == ("nas7", "agent")
    assert run_fustor("keys", "enroll", pub, *where).stdout == "agent nas7 is enrolled already\n"
    listed = json.loads(run_fustor("keys", "list", "--json", *where).stdout)
    assert [(one["role"], one["name"]) for one in listed] == [
        ("agent", "local"),
        ("agent", "nas7"),
        ("operator", "admin"),
    ]
    assert run_fustor("keys", "revoke", "nas7", *where).stdout == "agent nas7 is shut out\n"
    assert lookup(state, pair.public) is None
    refused = run_fustor("keys", "enroll", pub, *where)
    assert (refused.returncode, "was revoked" in refused.stderr) == (2, True)
    assert run_fustor("keys", "revoke", "nas7", *where).returncode == 4


def test_up_lets_nobody_in_who_was_shut_out(state: State, run_fustor: Run, data: str) -> None:
    own = load_secret(str(state.agent.keys / "agent.key")).public
    assert run_fustor("keys", "revoke", own, "--state", str(state.folder)).returncode == 0
    prepare(state, data)
    assert lookup(state, own) is None


def test_another_key_of_the_same_name_has_to_be_asked_for(state: State, run_fustor: Run, tmp_path: Path) -> None:
    where = ("--state", str(state.folder))
    before = load_secret(str(state.agent.keys / "agent.key")).public
    assert run_fustor("keys", "new", "local", "-o", str(tmp_path)).returncode == 0
    pub = str(tmp_path / "local.pub")
    refused = run_fustor("keys", "enroll", pub, *where)
    assert (refused.returncode, "agent local has another key" in refused.stderr) == (2, True)
    replaced = run_fustor("keys", "enroll", pub, "--replace", *where)
    assert "the key that it had is shut out" in replaced.stdout
    assert lookup(state, before) is None
    assert lookup(state, load_public(pub).public) == ("local", "agent")


def test_one_key_has_one_name_and_a_name_one_file_for_each_role(state: State, run_fustor: Run, tmp_path: Path) -> None:
    where = ("--state", str(state.folder))
    assert run_fustor("keys", "new", "ann", "-r", "observer", "-o", str(tmp_path)).returncode == 0
    pub = str(tmp_path / "ann.pub")
    assert run_fustor("keys", "enroll", pub, "--role", "deployer", *where).returncode == 0
    again = run_fustor("keys", "enroll", pub, *where)
    assert (again.returncode, "bound to one name" in again.stderr) == (2, True)
    (tmp_path / "more").mkdir()
    assert run_fustor("keys", "new", "ann", "-r", "observer", "-o", str(tmp_path / "more")).returncode == 0
    assert run_fustor("keys", "enroll", str(tmp_path / "more" / "ann.pub"), *where).returncode == 0
    both = run_fustor("keys", "revoke", "ann", *where)
    assert (both.returncode, "--role" in both.stderr) == (2, True)
    assert run_fustor("keys", "revoke", "ann", "-r", "deployer", *where).stdout == "deployer ann is shut out\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("new", "a/b"), "letters, digits"),
        (("new", "ann", "-r", "fusion"), "one of agent, deployer, observer, operator is accepted"),
        (("enroll", "nothing.pub"), "it can't be read"),
    ],
)
def test_what_is_not_accepted_is_said(
    state: State, run_fustor: Run, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    more = ("-o", str(tmp_path)) if arguments[0] == "new" else ("--state", str(state.folder))
    told = run_fustor("keys", *arguments, *more)
    assert (told.returncode, words in told.stderr) == (2, True), told.stderr


def test_keys_are_never_replaced(run_fustor: Run, tmp_path: Path) -> None:
    assert run_fustor("keys", "new", "ann", "-o", str(tmp_path)).returncode == 0
    kept = (tmp_path / "ann.key").read_text()
    assert run_fustor("keys", "new", "ann", "-o", str(tmp_path)).returncode == 2
    assert (tmp_path / "ann.key").read_text() == kept


def test_without_a_fusion_there_is_nothing_to_say(run_fustor: Run, tmp_path: Path) -> None:
    assert run_fustor("keys", "list", "--state", str(tmp_path)).returncode == 3
