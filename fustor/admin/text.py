"""Numbers, times and names for people. Nothing here reads a clock or writes anywhere."""

from __future__ import annotations

import datetime


def size(count: float) -> str:
    """Bytes in binary units: ``0 B``, ``12.3 KiB``; the unit changes at 1024."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} PiB"


def duration(seconds: float) -> str:
    """A time span with the two units that matter: ``0.12 s``, ``42 s``, ``3 min 5 s``, ``2 h 0 min``, ``4 d 3 h``."""
    if seconds < 10:
        return f"{max(0.0, seconds):.2f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def moment(seconds: float) -> str:
    """A time since 1970 as local time, to the second; the number itself where no calendar reaches."""
    try:
        return datetime.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.0f}"


def printable(name: str) -> str:
    r"""``name`` without anything that a terminal would obey or can't show: such characters become ``\xNN`` escapes."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)
