"""The options that all commands share."""

from __future__ import annotations

from pathlib import Path

import pytest

from fustor.admin.options import chosen_state


def test_the_option_outranks_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FUSTOR_STATE", str(tmp_path / "environment"))
    assert chosen_state(None).folder == tmp_path / "environment"
    assert chosen_state(tmp_path / "option").folder == tmp_path / "option"
