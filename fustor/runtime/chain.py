"""
The files of an audit log: their bounds, their lines, and the chain that shows what was meddled with.

Each line carries the hash of the line before it and its own, so that a line which is changed, left out or put in shows
(:func:`verify`); cutting off the end shows at whoever has seen a later line, such as the other side, whose log has the
same orders. What this module does not do: write them (see :mod:`fustor.runtime.audit`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

#: Hash before the first line.
GENESIS = "0" * 32
#: Bytes of one line; fields above it are shortened by whoever writes them.
LINE_BYTES = 64 << 10


def _bytes(instance: object, attribute: attrs.Attribute[Any], value: int) -> None:
    if not 4 * LINE_BYTES <= value <= 1 << 30:
        raise ValueError(f"a number from {4 * LINE_BYTES} to {1 << 30} is accepted")


def _files(instance: object, attribute: attrs.Attribute[Any], value: int) -> None:
    if not 1 <= value <= 1000:
        raise ValueError("a number from 1 to 1000 is accepted")


@attrs.frozen
class AuditLimits:
    """
    Attributes:
        file_bytes: size of a file above which the next one is begun.
        files: kept, the current one included; older ones are removed.
    """

    file_bytes: int = attrs.field(default=4 << 20, validator=_bytes)
    files: int = attrs.field(default=8, validator=_files)


def hash_of(fields: Mapping[str, Any]) -> str:
    """What an entry carries as its hash, of all its other fields."""
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()


def files_of(path: str) -> list[str]:
    """The files of a log, oldest first."""
    folder, name = os.path.split(path)
    try:
        names = os.listdir(folder or ".")
    except FileNotFoundError:
        return []
    numbers = sorted(
        (int(one[len(name) + 1 :]) for one in names if one.startswith(name + ".") and one[len(name) + 1 :].isdigit()),
        reverse=True,
    )
    return [f"{path}.{number}" for number in numbers] + ([path] if name in names else [])


def lines_of(file: str) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """(number of the line, entry) for each line; None for one that is none."""
    with open(file, "rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
            except ValueError:
                entry = None
            yield number, entry if isinstance(entry, dict) else None


def verify(path: str) -> tuple[int, str]:
    """
    Check the chain of all files of a log.

    Returns:
        The number of entries, and the first thing that is wrong (empty when nothing is). Older files that were removed
        for their age are no fault: the chain is checked from the oldest line there is.
    """
    count, last, number_before = 0, "", 0
    for file in files_of(path):
        for number, entry in lines_of(file):
            where = f"{file}:{number}"
            if entry is None:
                return count, f"{where}: no entry"
            told = entry.pop("hash", None)
            if hash_of(entry) != told:
                return count, f"{where}: it was changed"
            if count and (entry.get("prev") != last or entry.get("n") != number_before + 1):
                return count, f"{where}: what was before it is not before it any more"
            last, number_before = str(told), int(entry["n"])
            count += 1
    return count, ""
