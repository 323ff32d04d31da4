"""Who may connect: keys made, enrolled and revoked, with the files that Fusion reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fustor.admin.app import build
from fustor.admin.exits import exit_code
from fustor.admin.prepare import prepare
from fustor.admin.state import State
from fustor.runtime.keys import AuthorizedKeys, load_public, load_secret
from protocols.errors import FustorError


@pytest.fixture
def state(tmp_path: Path, data: str) -> State:
    """Prepared, never started."""
    made = State(tmp_path / "state")
    prepare(made, data)
    return made


def run(*arguments: str) -> tuple[int, str]:
    """Exit code and output of ``fustor keys ARGUMENTS``, in this process; of a failure what it says."""
    result = CliRunner().invoke(build(), ["keys", *arguments])
    if isinstance(result.exception, FustorError):
        return int(exit_code(result.exception)), str(result.exception)
    return result.exit_code, result.stdout


def lookup(state: State, public: str) -> tuple[str, str] | None:
    return AuthorizedKeys(str(state.fusion.keys / "authorized")).lookup(public)


def test_a_key_is_made_enrolled_and_revoked(state: State, tmp_path: Path) -> None:
    where, pub = ("--state", str(state.folder)), str(tmp_path / "nas7.pub")
    code, made = run("new", "nas7", "--output", str(tmp_path), "--json")
    pair = load_secret(str(tmp_path / "nas7.key"))
    assert (code, pair.role, json.loads(made)["public"]) == (0, "agent", pair.public)
    assert load_public(pub).public == pair.public
    assert run("enroll", pub, *where) == (0, "agent nas7 is enrolled\n")
    assert lookup(state, pair.public) == ("nas7", "agent")
    assert run("enroll", pub, *where) == (0, "agent nas7 is enrolled already\n")
    listed = json.loads(run("list", "--json", *where)[1])
    assert [(one["role"], one["name"]) for one in listed] == [
        ("agent", "local"),
        ("agent", "nas7"),
        ("deployer", "admin"),
    ]
    assert pair.public in run("list", *where)[1]
    assert run("revoke", "nas7", *where) == (0, "agent nas7 is shut out\n")
    assert lookup(state, pair.public) is None
    code, said = run("enroll", pub, *where)
    assert (code, "was revoked" in said) == (2, True)
    assert run("revoke", "nas7", *where)[0] == 4


def test_up_lets_nobody_in_who_was_shut_out(state: State, data: str) -> None:
    own = load_secret(str(state.agent.keys / "agent.key")).public
    # A key may begin with a dash.
    assert run("revoke", "--state", str(state.folder), "--", own)[0] == 0
    prepare(state, data)
    assert lookup(state, own) is None


def test_another_key_of_the_same_name_has_to_be_asked_for(state: State, tmp_path: Path) -> None:
    where, pub = ("--state", str(state.folder)), str(tmp_path / "local.pub")
    before = load_secret(str(state.agent.keys / "agent.key")).public
    assert run("new", "local", "-o", str(tmp_path))[0] == 0
    code, said = run("enroll", pub, *where)
    assert (code, "agent local has another key" in said) == (2, True)
    assert "the key that it had is shut out" in run("enroll", pub, "--replace", *where)[1]
    assert lookup(state, before) is None
    assert lookup(state, load_public(pub).public) == ("local", "agent")


def test_one_key_has_one_name_and_a_name_one_file_for_each_role(state: State, tmp_path: Path) -> None:
    where, pub, more = ("--state", str(state.folder)), str(tmp_path / "ann.pub"), tmp_path / "more"
    assert run("new", "ann", "-r", "observer", "-o", str(tmp_path))[0] == 0
    assert run("enroll", pub, "--role", "deployer", *where)[0] == 0
    code, said = run("enroll", pub, *where)
    assert (code, "bound to one name" in said) == (2, True)
    more.mkdir()
    assert run("new", "ann", "-r", "observer", "-o", str(more))[0] == 0
    assert run("enroll", str(more / "ann.pub"), *where)[0] == 0
    code, said = run("revoke", "ann", *where)
    assert (code, "--role" in said) == (2, True)
    assert run("revoke", "ann", "-r", "deployer", *where) == (0, "deployer ann is shut out\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("new", "a/b"), "letters, digits"),
        (("new", "ann", "-r", "fusion"), "one of agent, deployer, observer, operator is accepted"),
        (("enroll", "nothing.pub"), "it can't be read"),
    ],
)
def test_what_is_not_accepted_is_said(state: State, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    more = ("-o", str(tmp_path)) if arguments[0] == "new" else ("--state", str(state.folder))
    code, said = run(*arguments, *more)
    assert (code, words in said) == (2, True), said


def test_keys_are_never_replaced(tmp_path: Path) -> None:
    assert run("new", "ann", "-o", str(tmp_path))[0] == 0
    kept = (tmp_path / "ann.key").read_text()
    assert run("new", "ann", "-o", str(tmp_path))[0] == 2
    assert (tmp_path / "ann.key").read_text() == kept


def test_without_a_fusion_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert run("list", "--state", str(tmp_path))[0] == 3
