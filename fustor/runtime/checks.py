"""
Validators for attrs classes that are tables of a configuration file: each error says what is accepted.

What this module does not do: read files or know any key. Numbers and patterns have theirs in ``fustor.runtime.config``.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

import attrs

from fustor.runtime.config import shorten
from fustor.runtime.endpoint import parse_address, parse_endpoint
from protocols.errors import ConfigError


def endpoint(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    """A zmq endpoint on tcp."""
    try:
        parse_endpoint(value)
    except ValueError as error:
        raise ConfigError(attribute.name, shorten(value), str(error)) from None


def endpoint_or_empty(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    """A zmq endpoint on tcp, or nothing."""
    if value:
        endpoint(instance, attribute, value)


def address(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    """A host and a port."""
    try:
        parse_address(value)
    except ValueError as error:
        raise ConfigError(attribute.name, shorten(value), str(error)) from None


def path(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    """A path that is not empty and holds no NUL."""
    if not value or "\0" in value:
        raise ConfigError(attribute.name, shorten(value), "a path is accepted: not empty, without NUL")


def distinct(field: str, values: Collection[str], what: str) -> None:
    """
    Refuse doubles.

    Raises:
        ConfigError: on ``field``, when two of ``values`` are equal; ``what`` are they, in the plural.
    """
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ConfigError(field, value, f"{what} must differ, this one is there twice")
        seen.add(value)


def absolute(table: Any, key: str, base: str) -> None:
    """
    Make ``table[key]`` an absolute path, in place: ``~`` is the home folder, relative ones start at ``base``.

    Whatever is no path is left as it is, for the validators to refuse.
    """
    if isinstance(table, dict) and isinstance(table.get(key), str) and table[key] and "\0" not in table[key]:
        table[key] = os.path.abspath(os.path.join(base, os.path.expanduser(table[key])))
