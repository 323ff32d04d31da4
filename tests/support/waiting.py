"""
Waiting for a condition, with a deadline that fails the test.

Whoever asks takes from those who are to answer, so it is asked less often the longer it takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

#: How long anything may take before a test gives up on it. Not an expectation.
PATIENCE = 150.0
#: Seconds between two times that it is asked: the first, the last, and by what part of the time waited it grows.
_FIRST, _LAST, _SHARE = 0.02, 0.3, 0.05


def until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """
    The first true value of ``condition``.

    Raises:
        AssertionError: it did not become true; names ``what``.
    """
    since = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        waited = time.monotonic() - since
        assert waited < patience, f"waited {patience:g} s for: {what}"
        time.sleep(min(_LAST, max(_FIRST, _SHARE * waited)))
