"""Where things are in a state folder, and what its files say."""

from __future__ import annotations

from pathlib import Path

import pytest

from fustor.admin.exits import NotRunningError
from fustor.admin.state import State, default_state
from protocols.errors import ConfigError


def test_the_default_is_chosen_by_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("FUSTOR_STATE", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert default_state() == tmp_path / ".local" / "state" / "fustor"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert default_state() == tmp_path / "xdg" / "fustor"
    monkeypatch.setenv("FUSTOR_STATE", str(tmp_path / "own"))
    assert default_state() == tmp_path / "own"


def test_links_are_resolved(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert State(tmp_path / "link").fusion.run == tmp_path / "real" / "fusion" / "run"


def test_what_was_never_started_is_said_so(tmp_path: Path) -> None:
    state = State(tmp_path)
    assert not state.exists()
    with pytest.raises(NotRunningError, match="fustor up DIR"):
        state.fusion_config()


def test_defaults_hold_where_the_file_is_silent(tmp_path: Path) -> None:
    (tmp_path / "fusion.toml").write_text(
        '[fusion]\nhttp = "127.0.0.1:9"\n[[views]]\nname = "a"\n[[views]]\nname = "b"\n'
    )
    (tmp_path / "agent.toml").write_text('[[sources]]\nroot = "/srv"\n')
    state = State(tmp_path)
    assert state.exists()
    assert state.fusion_config()["http"] == "127.0.0.1:9"
    assert state.fusion_config()["admin"] == "tcp://127.0.0.1:7701"
    assert state.views() == ("a", "b")
    assert state.root() == "/srv"


@pytest.mark.parametrize("text", ["[fusion", "fusion = 1\n", "\udcff"])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "fusion.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=r"fusion\.toml"):
        State(tmp_path).fusion_config()
