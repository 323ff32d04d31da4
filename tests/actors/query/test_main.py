"""The module of a query worker without a guardian around it; with one: ``test_service``."""

from __future__ import annotations

import json
import subprocess
import sys


def check(config: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "actors.query", "--check"],
        input=json.dumps(config),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_good_configuration() -> None:
    assert check({"views": {"main": "/x"}, "default_view": "main"}).returncode == 0


def test_a_bad_configuration_is_named() -> None:
    done = check({"views": {"main": "/x"}, "default_view": "other", "surprise": 1})
    assert done.returncode == 2
    assert "surprise" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
