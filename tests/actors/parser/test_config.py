"""What a parser is told, and what it says to what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from actors.parser.config import ParserActorConfig, ParserLimits
from fustor.runtime.config import ConfigFaults, structure

CONFIG: dict[str, Any] = {
    "source": {"name": "data", "root": "/"},
    "parser": {"name": "one", "format": "json", "options": {"most_bytes": 5}},
    "state": "/state",
}


def test_defaults() -> None:
    told = structure(ParserActorConfig, CONFIG)
    assert told.limits == ParserLimits(files_per_message=256, cache_bytes=4 << 30, nice=10)
    assert told.parser.options == {"most_bytes": 5}
    assert (told.quarantined, told.again) == ((), ())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"limits": {"cache_bytes": 1}}, r"limits\.cache_bytes"),
        ({"limits": {"files_per_message": 0}}, r"limits\.files_per_message"),
        ({"parser": {"name": "a.b"}}, r"parser\.name"),
        ({"parser": {"name": "one", "format": "No Format"}}, r"parser\.format"),
        ({"parser": {"name": "one", "options": {"a": [1]}}}, r"parser\.options\.a"),
        ({"parser": {"name": "one", "file_bytes": -1}}, r"parser\.file_bytes"),
        ({"parser": {"name": "one", "formats": "json"}}, r"parser\.formats"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigFaults, match=named):
        structure(ParserActorConfig, {**CONFIG, **change})
