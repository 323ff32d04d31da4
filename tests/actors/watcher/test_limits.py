"""Limits refuse what makes no sense, by name."""

from __future__ import annotations

import pytest

from actors.watcher.limits import WatcherLimits
from protocols.errors import ConfigError


@pytest.mark.parametrize("name", ["unapplied_bytes", "names_per_work", "dirs_per_work", "watermark_seconds"])
def test_nothing_is_no_limit(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        WatcherLimits(**{name: 0})


def test_no_hard_links_may_be_kept() -> None:
    assert WatcherLimits(links=0).links == 0
