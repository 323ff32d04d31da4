"""Control groups: what is refused anywhere, and, in a kernel that has them, what they do (``tests/guest``)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fustor.runtime.cgroups import GroupLimits, Groups, find
from protocols.errors import ConfigError, MachineError
from tests.support import guest

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("parent", ["", "relative", "/a/../b", "/a/", "on"])
def test_only_a_folder_or_a_word_is_accepted(parent: str) -> None:
    with pytest.raises(ConfigError, match="parent"):
        GroupLimits(parent)


def test_without_a_word_of_anybody_there_are_none(tmp_path: Path) -> None:
    assert find("off", [os.getpid()]) is None


def test_a_folder_that_is_none_of_groups_is_refused_by_name_and_stays_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=str(tmp_path / "nowhere")):
        Groups(str(tmp_path / "nowhere" / "deep"), [os.getpid()])
    with pytest.raises(MachineError, match=r"not for our control groups: No such file"):
        Groups(str(tmp_path), [os.getpid()])
    assert not list(tmp_path.iterdir())


@pytest.mark.guest
@pytest.mark.skipif(guest.KERNEL is None, reason="no user-mode Linux here (apt-get install user-mode-linux)")
@pytest.mark.timeout(guest.PATIENCE + 60)
def test_in_a_kernel_that_has_them(tmp_path: Path) -> None:
    flags = "-q -p no:cacheprovider -p no:xdist -p no:hypothesispytest --basetemp=/mnt/tmp/pytest"
    command = f"{sys.executable} -m pytest {flags} tests/guest/groups.py"
    code, said = guest.run(tmp_path, command.split(), sys.executable, CHECKOUT)
    assert code == 0, said
    assert " passed" in said
