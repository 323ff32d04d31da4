"""How long it takes until a system shows what was done to its tree."""

from __future__ import annotations

import time

from benchmarks.errors import WrongAnswerError
from benchmarks.subjects.base import Looker

#: Seconds between two looks while a latency is measured: its resolution.
LOOK_PAUSE = 0.0005


def seconds_until(look: Looker, path: str, there: bool, patience: float) -> float:
    """
    How long it takes until ``path`` is there, or gone; measured from the call on.

    Raises:
        WrongAnswerError: longer than ``patience`` seconds.
    """
    start = time.perf_counter()
    while True:
        found = look(path)
        seconds = time.perf_counter() - start
        if found is there:
            return seconds
        if seconds > patience:
            raise WrongAnswerError(f"{path} is still {'missing' if there else 'there'} after {patience:g} s")
        time.sleep(LOOK_PAUSE)
