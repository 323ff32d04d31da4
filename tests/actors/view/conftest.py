"""What tests of a whole view share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.actors.view.agent import Keys


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    """Keys of both sides; and the working directory is one of its own, for an actor writes there what it handles."""
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    return Keys(tmp_path / "keys")
