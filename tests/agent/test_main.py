"""The module of the agent's control actor without a guardian around it; with one: ``test_control``."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def test_by_hand_it_says_what_is_missing() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FUSTOR_")}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "fustor.agent"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "FUSTOR_CONFIG" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("told", "said"), [("[]", "a JSON object is accepted"), ("{", "Expecting"), ('{"x": 1}', "x = ")]
)
def test_asked_whether_it_would_take_a_configuration_it_says_why_not(told: str, said: str) -> None:
    command = [sys.executable, "-P", "-m", "fustor.agent", "--check"]
    done = subprocess.run(command, input=told, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stdout
    assert "Traceback" not in done.stderr
