"""Preparing a state folder, for real."""

from __future__ import annotations

import os
import socket
import stat
import tomllib
from pathlib import Path

import pytest

from fustor.admin.ports import split
from fustor.admin.prepare import check_root, prepare, toml_text
from fustor.admin.state import State
from fustor.runtime.keys import load_public, load_secret
from protocols.errors import ConfigError, MachineError, RequestError

pytestmark = pytest.mark.usefixtures("ports")


@pytest.fixture
def root(tmp_path: Path) -> str:
    folder = tmp_path / "data"
    folder.mkdir()
    return str(folder)


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state")


def test_everything_is_there_and_private(state: State, root: str) -> None:
    prepare(state, root)
    for folder in (state.folder, *(f for s in state.sides for f in (s.folder, s.run, s.log, s.keys))):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    fusion, agent = state.sides
    assert load_public(str(fusion.keys / "fusion.pub")).public == load_secret(str(fusion.keys / "fusion.key")).public
    local = load_public(str(fusion.keys / "authorized" / "local.pub"))
    assert (local.role, local.public) == ("agent", load_secret(str(agent.keys / "agent.key")).public)
    admin = load_public(str(fusion.keys / "authorized" / "admin.pub"))
    assert (admin.role, admin.public) == ("deployer", load_secret(str(fusion.keys / "admin.key")).public)


def test_the_two_files_fit_together(state: State, root: str) -> None:
    prepare(state, root)
    agent = tomllib.loads(state.agent.config.read_text())
    assert agent["agent"]["fusion"] == state.fusion_config()["control"]
    assert agent["agent"]["fusion_key_file"] == "fusion/keys/fusion.pub"
    assert agent["sources"][0]["root"] == root
    assert agent["sources"][0]["exclude"] == []
    assert state.views() == ("main",)


def test_a_second_time_changes_nothing(state: State, root: str) -> None:
    prepare(state, root)
    files = [path for path in state.folder.rglob("*") if path.is_file() and path.suffix in (".toml", ".key")]
    before = {path: path.read_bytes() for path in files}
    prepare(state, root)
    assert {path: path.read_bytes() for path in files} == before
    assert len(files) == 5


def test_another_directory_is_refused_by_name(state: State, root: str, tmp_path: Path) -> None:
    prepare(state, root)
    with pytest.raises(RequestError, match=f"belongs to {root}.*--state"):
        prepare(state, str(tmp_path))


def test_its_own_folder_is_never_indexed(tmp_path: Path) -> None:
    state = State(tmp_path / "data" / "a b" / "[state]!")
    prepare(state, str(tmp_path / "data"))
    source = tomllib.loads(state.agent.config.read_text())["sources"][0]
    assert source["exclude"] == ["/a\\ b/\\[state\\]\\!/"]
    inside = State(tmp_path / "inside")
    prepare(inside, str(tmp_path / "inside"))
    source = tomllib.loads(inside.agent.config.read_text())["sources"][0]
    assert source["exclude"] == ["/agent/", "/fusion/"]


def test_a_taken_port_asked_for_is_refused_with_its_holder(state: State, root: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RequestError, match=f"taken by process {os.getpid()} "):
            prepare(state, root, address)
    prepare(state, root, address)
    assert state.fusion_config()["http"] == address


def test_http_is_written_into_an_existing_file(state: State, root: str) -> None:
    prepare(state, root)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    prepare(state, root, address)
    assert f'\nhttp = "{address}"\n' in state.fusion.config.read_text()


def test_ports_of_its_own_choice_are_chosen_anew(state: State, root: str) -> None:
    prepare(state, root)
    before = state.fusion_config()
    with socket.create_server(split(str(before["control"]), "")), socket.create_server(split(str(before["http"]), "")):
        prepare(state, root)
        after = state.fusion_config()
    assert after["control"] != before["control"]
    assert after["http"] != before["http"]
    assert after["admin"] == before["admin"]
    assert tomllib.loads(state.agent.config.read_text())["agent"]["fusion"] == after["control"]


def test_a_port_of_the_operator_is_kept(state: State, root: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    prepare(state, root, address)
    with (
        socket.create_server(split(address, "")),
        pytest.raises(ConfigError, match=rf"fusion\.toml: fusion\.http = '{address}': port \d+ is taken by process"),
    ):
        prepare(state, root)


def test_all_ports_differ(state: State, root: str) -> None:
    prepare(state, root)
    config = state.fusion_config()
    ports = [split(str(config[key]), key)[1] for key in ("control", "admin", "http")]
    data, query = (split(str(config[key]), key)[1] for key in ("data", "query"))
    ports += [data, data + 1, query, query + 1]
    assert len(set(ports)) == len(ports)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(RequestError, match="may not read"):
        check_root(str(tmp_path / "closed"))


@pytest.mark.parametrize(("name", "reason"), [("missing", "no such directory"), ("file", "is no directory")])
def test_a_root_that_is_none_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match=reason):
        check_root(str(tmp_path / name))


def test_a_root_that_toml_can_not_name_is_refused(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(folder)
    with pytest.raises(RequestError, match="UTF-8"):
        check_root(os.fsdecode(folder))


def test_a_state_folder_that_can_not_be_made_says_what_to_do(tmp_path: Path, root: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="--state FOLDER"):
        prepare(State(tmp_path / "file" / "state"), root)


@pytest.mark.parametrize("text", ["", "plain", 'quote " and \\', "\x00\x01\x1f\x7f\n\t", "ü名😀"])
def test_toml_text_is_read_back(text: str) -> None:
    assert tomllib.loads(f"x = {toml_text(text)}") == {"x": text}
