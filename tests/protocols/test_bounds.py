"""Bounds of numbers, both ends included where it says so."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest

from protocols.bounds import between, positive
from protocols.errors import ConfigError


@attrs.frozen
class Policy:
    seconds: float = attrs.field(default=1.0, validator=positive)
    count: float = attrs.field(default=2, validator=between(1, 3))


@pytest.mark.parametrize("values", [{"seconds": 0.001}, {"seconds": 86_400}, {"count": 1}, {"count": 3}])
def test_accepted(values: dict[str, Any]) -> None:
    assert Policy(**values)


@pytest.mark.parametrize(
    ("field", "value", "accepted"),
    [
        ("seconds", 0, "above 0 and up to 86400"),
        ("seconds", 86_401, "above 0 and up to 86400"),
        ("seconds", math.nan, "above 0"),
        ("count", 0.5, "from 1 to 3"),
        ("count", 4, "from 1 to 3"),
        ("count", math.nan, "from 1 to 3"),
    ],
)
def test_refused_with_field_value_and_what_is_accepted(field: str, value: float, accepted: str) -> None:
    with pytest.raises(ConfigError, match=accepted) as caught:
        Policy(**{field: value})
    assert caught.value.field == field
