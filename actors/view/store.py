"""
Opening the store of a view, whatever is there.

The front, if it can be used; else a store made of its synced copy; else an empty one. What can't be used is set aside,
not deleted. A store that is not the one before has another uuid and a position of its own, which tells every agent what
is to be sent again.

What this module does not do: it makes no copies (:mod:`actors.view.copies` does), and blocks: it is for a thread.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

import attrs

from fustor.treestore.errors import StoreMissingError, StoreUnusableError
from fustor.treestore.generations import Generations
from fustor.treestore.place import Place
from fustor.treestore.restoring import restore, unpack_store
from fustor.treestore.writer import Writer
from protocols.errors import MachineError

_log = logging.getLogger(__name__)

#: Opens the store in a folder.
Make = Callable[[str, Generations], Writer]


@attrs.frozen
class Opened:
    """
    Attributes:
        writer: of the store that is the front now.
        reason: why it is another one than before; empty when it is not.
        restored: of which copy it was made; empty when of none.
    """

    writer: Writer
    reason: str = ""
    restored: str = ""


def open_store(place: Place, make: Make, map_size: int, damage: str = "", trusted: bool = True) -> Opened:
    """
    Open the front of ``place``, or make one.

    Args:
        damage: why what is there must not be used; empty when it may.
        trusted: the damage need not come from the copy; else what is there was made of it, and it is set aside too.

    Raises:
        StoreFullError, MachineError: there can't be any store now.
    """
    generations = Generations(place.generations)
    place.forget_unfinished()
    current, reason = place.current(), damage
    if current and not damage:
        try:
            writer = make(current, generations)
        except StoreUnusableError as error:
            reason = str(error)
        else:
            if place.resetting() is None:
                with contextlib.suppress(MachineError):  # what a reset that was cancelled has left
                    place.remove(place.other())
            return Opened(writer)
    back, restored = place.back(), ""
    if damage and not trusted:
        with contextlib.suppress(MachineError):  # there is none any more
            place.set_aside(place.copy)
    try:
        restored = restore(place.copy, back, generations.ceiling + 1, map_size)
        writer = make(back, generations)
    except StoreMissingError:
        writer = make(back, generations)
    except StoreUnusableError as error:
        _log.error("the copy can't be used", extra={"reason": str(error), "aside": place.set_aside(place.copy)})
        reason, restored = f"{reason}; {error}" if reason else str(error), ""
        writer = make(place.back(), generations)
    try:
        before = place.make_front(back)
    except BaseException:
        writer.environment.close()
        raise
    if reason or restored:
        reason = reason or f"{place.front}: there was no store"
        aside = _set_aside(place, before)
        _log.error(
            "the store can't be used; " + (restored or "the tree begins anew"),
            extra={"reason": reason, "aside": aside},
        )
    return Opened(writer, reason, restored)


def open_reset(place: Place, make: Make) -> Writer:
    """
    Open the store that is built anew in the back, or begin it. The front stays what it is, and may not be open here.

    Raises:
        StoreFullError, MachineError: there can't be any store now.
    """
    generations = Generations(place.generations)
    begun = place.resetting()
    if begun:
        try:
            writer = make(place.other(), generations)
        except StoreUnusableError:
            pass
        else:
            if writer.uuid == begun:
                return writer
            writer.environment.close()
    writer = make(place.back(), generations)
    try:
        place.note_reset(writer.uuid)
    except BaseException:
        writer.environment.close()
        raise
    return writer


def end_reset(place: Place, path: str, make: Make) -> None:
    """
    Make the store at ``path``, which was built anew, the front, and remove the one before, which is not open here.
    Doing it again does no harm.

    Raises:
        MachineError: it can't be; the front is what it was, or the new one.
    """
    if place.current() not in ("", path):
        retire(lambda: make(place.current(), Generations(place.generations)))
        place.make_front(path)
    place.end_reset()
    with contextlib.suppress(MachineError):  # the next start tries again
        place.remove(place.other())


def retire(opened: Callable[[], Writer]) -> None:
    """
    Let those who read a store look for the next one from now on, and close it; where that can't be said they look now
    and then.
    """
    with contextlib.suppress(MachineError):
        writer = opened()
        try:
            writer.retire()
        finally:
            writer.environment.close()


def compact(place: Place, make: Make) -> Writer:
    """
    Make a store of the copy, which is as of the last commit, the front; the one before is removed. It must be closed.

    Raises:
        StoreUnusableError, StoreFullError, MachineError: it can't be; the front is what it was, or the new one.
    """
    back = place.back()
    unpack_store(place.copy, back)
    writer = make(back, Generations(place.generations))
    try:
        before = place.make_front(back)
    except BaseException:
        writer.environment.close()
        raise
    with contextlib.suppress(MachineError):  # the next start tries again
        place.remove(before)
    return writer


def _set_aside(place: Place, path: str) -> str:
    """Where a store that was the front is now; empty when there was none, or it can't be moved."""
    if not path:
        return ""
    try:
        return place.set_aside(path)
    except MachineError as error:
        _log.warning("a store can't be set aside", extra={"error": str(error)})
        return ""
