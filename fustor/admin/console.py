"""
Where the commands write: answers to stdout, everything else to stderr.

Colours are for terminals: rich leaves them out when the output is piped or ``NO_COLOR`` is set (https://no-color.org).
"""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console


def stdout() -> Console:
    """The console for answers. Made per command, so that it sees the stdout of now."""
    return Console(highlight=False, soft_wrap=True)


def stderr() -> Console:
    """The console for what is not the answer."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON document on one line on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=_plain) + "\n")
    sys.stdout.flush()


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    raise TypeError(f"{type(value).__name__} has no JSON form")
