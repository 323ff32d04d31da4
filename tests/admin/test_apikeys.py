"""API keys made, listed and revoked, with the files that query workers read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fustor.admin.app import build
from fustor.admin.exits import exit_code
from fustor.runtime.access import EVERYTHING, ApiKeys, Grant, api_folder
from protocols.errors import FustorError


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Nothing has ever run in it."""
    return tmp_path / "state"


def run(state: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of ``fustor api-keys ARGUMENTS``, in this process; of a failure what it says."""
    result = CliRunner().invoke(build(), ["api-keys", *arguments, "--state", str(state)])
    if isinstance(result.exception, FustorError):
        return int(exit_code(result.exception)), str(result.exception)
    return result.exit_code, result.stdout


def grant(state: Path, key: str) -> Grant | None:
    return ApiKeys(api_folder(str(state / "fusion"))).grant(key.encode())


def test_a_key_is_printed_once_and_opens_what_was_said(state: Path) -> None:
    code, said = run(state, "new", "ann")
    assert (code, grant(state, said.strip())) == (0, EVERYTHING)
    code, said = run(state, "new", "bob", "--view", "main", "--path", "/a", "-p", "/b c", "--json")
    told = json.loads(said)
    assert (code, told["views"], told["paths"]) == (0, ["main"], ["/a", "/b c"])
    assert grant(state, told["key"]) == Grant(frozenset({"main"}), ((b"a",), (b"b c",)))
    listed = run(state, "list")[1]
    assert told["key"] not in listed
    assert [line.split() for line in listed.splitlines()[1:]] == [
        ["ann", "all", "/"],
        ["bob", "main", "/a,", "/b", "c"],
    ]
    assert json.loads(run(state, "list", "--json")[1])[1] == {"name": "bob", "views": ["main"], "paths": ["/a", "/b c"]}
    assert stat_modes(state) == {0o700}


def stat_modes(state: Path) -> set[int]:
    folder = state / "fusion" / "keys" / "api"
    return {path.stat().st_mode & 0o777 for path in (state, state / "fusion", folder.parent, folder)}


def test_a_revoked_key_opens_nothing_and_its_name_is_free(state: Path) -> None:
    key = run(state, "new", "ann")[1].strip()
    code, said = run(state, "new", "ann")
    assert (code, "revoke the other one first" in said) == (2, True)
    assert run(state, "revoke", "ann") == (0, "the key of ann opens nothing any more\n")
    assert grant(state, key) is None
    code, said = run(state, "revoke", "ann")
    assert (code, "there are: none" in said) == (4, True)
    assert run(state, "new", "ann")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("new", "a/b"), "letters, digits"), (("new", "ann", "--path", "relative"), "absolute path")],
)
def test_what_is_not_accepted_is_said(state: Path, arguments: tuple[str, ...], words: str) -> None:
    code, said = run(state, *arguments)
    assert (code, words in said) == (2, True)


def test_a_file_that_is_no_key_is_shown(state: Path) -> None:
    run(state, "new", "ann")
    (state / "fusion" / "keys" / "api" / "odd.toml").write_text("name = 1")
    assert "it opens nothing" in run(state, "list")[1]
    assert run(state, "revoke", "odd")[0] == 0
