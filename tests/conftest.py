"""What all tests need of the process they run in."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

# How fast a machine is decides about no test.
settings.register_profile("fustor", deadline=None, suppress_health_check=[HealthCheck.too_slow])


def pytest_configure() -> None:
    settings.load_profile("fustor")
    # Processes of tests are started by the thousand: none of them compiles what another one has compiled.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # A shell that starts us in its background has SIGINT ignored (POSIX, sh), and so would our children.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
