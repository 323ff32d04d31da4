"""
Rows as they come from an agent, sorted out: what may go into the store, what is to be left alone, what is wrong.

What this module does not do: it reads and writes no store.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter

import attrs

from fustor.treestore.format import CONTENT_TYPES
from protocols.data import MODE, NAME, Row

#: Longest name that is taken, in bytes: far above NAME_MAX of any file system.
MAX_NAME = 4096
#: What no entry of a directory can be called.
NOT_NAMES = frozenset((b"", b".", b".."))

_NAME, _MODE = itemgetter(NAME), itemgetter(MODE)
_DIRECTORY = 0o04


@attrs.define
class Intake:
    """
    Attributes:
        files: rows of non-directories.
        directories: rows of directories, each with the agent's id.
        ignored: names of which nothing is said.
        malformed: how many rows were left out because they are wrong.
        refused: the ids do not fit the directories, which are ignored therefore.
    """

    files: list[Row]
    directories: list[tuple[Row, int]]
    ignored: frozenset[bytes]
    malformed: int = 0
    refused: bool = False


def valid_names(names: Sequence[bytes]) -> bool:
    """All are names that a directory can have (path_resolution(7)), and no two are the same."""
    if not names:
        return True
    distinct = set(names)
    together = b"/".join(names)
    return (
        len(distinct) == len(names)
        and (len(together) <= MAX_NAME or max(map(len, names)) <= MAX_NAME)
        and distinct.isdisjoint(NOT_NAMES)
        and together.count(b"/") == len(names) - 1
        and b"\0" not in together
    )


def sort_out(
    page: list[Row], ids: tuple[int, ...], ignore: Iterable[bytes], lo: bytes = b"", hi: bytes | None = None
) -> Intake:
    """
    Sort out the rows of an operation on the names in [lo, hi).

    Args:
        page: rows from :func:`~fustor.treestore.wire.decode_page`, none of them gone.
        ids: ids of the directories among them, in order; 0: to be ignored.
        ignore: names to be ignored.
    """
    intake = Intake(page, [], frozenset(ignore))
    types = {mode >> 12 for mode in set(map(_MODE, page))}
    if _DIRECTORY in types:
        _take_directories(intake, page, ids)
    if intake.ignored:
        intake.files = [row for row in intake.files if row[NAME] not in intake.ignored]
    names = list(map(_NAME, intake.files))
    if intake.directories:
        names += [row[NAME] for row, _ in intake.directories]
    inside = (lo == b"" and hi is None) or all(lo <= name and (hi is None or name < hi) for name in names)
    if not inside or not types <= CONTENT_TYPES.keys() or not valid_names(names):
        _salvage(intake, lo, hi)
    return intake


def _take_directories(intake: Intake, page: list[Row], ids: tuple[int, ...]) -> None:
    directories = [row for row in page if row[MODE] >> 12 == _DIRECTORY]
    intake.files = [row for row in page if row[MODE] >> 12 != _DIRECTORY]
    if len(directories) != len(ids) or min(ids) < 0:
        # Which id is whose can't be known: say nothing about any of them.
        intake.refused = True
        ids = (0,) * len(directories)
    pairs = list(zip(directories, ids, strict=True))
    intake.directories = [pair for pair in pairs if pair[1] and pair[0][NAME] not in intake.ignored]
    if 0 in ids:
        intake.ignored = intake.ignored.union([row[NAME] for row, handle in pairs if not handle])


def _salvage(intake: Intake, lo: bytes, hi: bytes | None) -> None:
    """Keep the rows that are right, where some are not; of two of the same name the last."""
    kept: dict[bytes, tuple[Row, int]] = {}
    for row, handle in [*[(row, 0) for row in intake.files], *intake.directories]:
        name = row[NAME]
        inside = lo <= name and (hi is None or name < hi)
        if not inside or row[MODE] >> 12 not in CONTENT_TYPES or not valid_names((name,)):
            intake.malformed += 1
            continue
        if name in kept:
            intake.malformed += 1
        kept[name] = (row, handle)
    intake.files = [row for row, handle in kept.values() if not handle]
    intake.directories = [pair for pair in kept.values() if pair[1]]
