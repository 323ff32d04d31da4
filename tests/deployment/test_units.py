"""The files of ``docs/deployment``: accepted by systemd's own check, and tried under a real one (``tests/guest``)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import guest

CHECKOUT = Path(__file__).resolve().parents[2]
UNITS = sorted((CHECKOUT / "docs" / "deployment").glob("*.[s]*"))
ANALYZE = shutil.which("systemd-analyze")


def test_there_are_units() -> None:
    assert {unit.suffix for unit in UNITS} == {".service", ".socket"}


@pytest.mark.skipif(ANALYZE is None, reason="no systemd-analyze here (apt-get install systemd)")
def test_systemd_accepts_every_line(tmp_path: Path) -> None:
    assert ANALYZE is not None
    for unit in UNITS:
        text = unit.read_text().replace("/opt/fustor/bin/", f"{Path(sys.executable).parent}/")
        (tmp_path / unit.name).write_text(text)
    done = subprocess.run(
        [ANALYZE, "verify", *sorted(str(path) for path in tmp_path.iterdir())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.guest
@pytest.mark.skipif(guest.KERNEL is None, reason="no user-mode Linux here (apt-get install user-mode-linux)")
@pytest.mark.skipif(guest.SYSTEMD is None, reason="no systemd here (apt-get install systemd)")
@pytest.mark.timeout(guest.PATIENCE + 60)
def test_under_a_real_systemd(tmp_path: Path) -> None:
    flags = (
        "-q -x --color=no --tb=short -p no:cacheprovider -p no:xdist -p no:hypothesispytest --basetemp=/mnt/tmp/pytest"
    )
    command = f"{sys.executable} -m pytest {flags} tests/guest/services.py"
    code, said = guest.run(tmp_path, command.split(), sys.executable, CHECKOUT, managed=True)
    assert code == 0, said
    assert " passed" in said
