"""The systems that are measured: this one, and its peers where they are installed."""

from __future__ import annotations

from benchmarks.subjects.base import Subject
from benchmarks.subjects.fustor import Fustor
from benchmarks.subjects.predecessor import Predecessor
from benchmarks.subjects.watchman import Watchman


def subjects() -> list[Subject]:
    """One of each, none started; whether it can run here its ``missing`` tells."""
    return [Fustor(), Predecessor(), Watchman()]
