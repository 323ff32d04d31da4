"""The folder of our control groups, as far as it can be seen anywhere; what giving back does: ``tests/guest``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fustor.runtime.delegation import CONTROL, PREFIX, SHELL, give_back, own, write


def test_a_process_in_none_of_our_groups_gives_nothing_back() -> None:
    """Else whoever runs the tests would lose their controllers."""
    folder = own()
    assert os.path.basename(folder) != SHELL
    assert not os.path.basename(folder).startswith(PREFIX)
    control = Path(folder, CONTROL)
    before = control.read_text() if folder and control.exists() else ""
    give_back()
    assert own() == folder
    assert (control.read_text() if folder and control.exists() else "") == before


def test_what_the_kernel_does_not_offer_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write(str(tmp_path / CONTROL), "-memory")
    assert not list(tmp_path.iterdir())
