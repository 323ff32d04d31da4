"""
Opening the store of a view, whatever is there.

A store that can't be used is set aside, not deleted: renamed to ``<store>.aside``, where the next one takes its place.
The new store has another uuid, which tells every agent that everything is to be sent again.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable

from fustor.treestore.errors import StoreUnusableError
from fustor.treestore.writer import Writer
from protocols.errors import MachineError

_log = logging.getLogger(__name__)


def set_aside(path: str) -> str:
    """
    Move the store at ``path`` out of the way; where to.

    Raises:
        MachineError: it can't be moved.
    """
    aside = path.rstrip("/") + ".aside"
    try:
        if os.path.lexists(aside):
            shutil.rmtree(aside)
        os.rename(path, aside)
    except OSError as error:
        raise MachineError(f"{path}: can't be moved to {aside}: {error.strerror}; move it away by hand") from None
    return aside


def open_store(path: str, make: Callable[[], Writer]) -> tuple[Writer, str]:
    """
    The writer that ``make`` opens at ``path``, and, where it could not use what was there, why not.

    Raises:
        StoreFullError, MachineError: there can't be any store now.
    """
    try:
        return make(), ""
    except StoreUnusableError as error:
        reason = str(error)
    aside = set_aside(path)
    _log.error("the store can't be used and begins anew", extra={"reason": reason, "aside": aside})
    return make(), reason
