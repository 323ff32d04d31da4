"""Validators of attrs for policies: numbers within bounds."""

from __future__ import annotations

from typing import Any

import attrs

from protocols.errors import ConfigError


def positive(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    """
    Validator: a time that passes and ends.

    Raises:
        ConfigError: not above 0, or more than a day.
    """
    if not 0 < value <= 86_400:
        raise ConfigError(attribute.name, value, "a number above 0 and up to 86400 is accepted")


def between(low: float, high: float) -> Any:
    """Validator: a number from ``low`` to ``high``, both included; it raises ConfigError."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
        if not low <= value <= high:
            raise ConfigError(attribute.name, value, f"a number from {low:g} to {high:g} is accepted")

    return check
