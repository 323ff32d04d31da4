"""The module of Fusion's control actor without a guardian around it; with one: ``test_control``."""

from __future__ import annotations

import os
import subprocess
import sys


def test_by_hand_it_says_what_is_missing() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FUSTOR_")}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "fustor.fusion"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "FUSTOR_CONFIG" in done.stderr
    assert "Traceback" not in done.stderr
