"""
The folder of a view: two stores, of which one is the front, and what belongs to both.

``front`` is a symbolic link to ``a`` or ``b`` that is replaced by rename(2), so whoever follows it finds the one store
or the other, whole. What can't be used is set aside, not deleted; the last of each kind is kept.

A file ``reset`` asks for a store that is built in the back from the agents alone; it names that store once it is begun.

What this module does not do: it opens no store.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil

from fustor.runtime.durable import sync_folder, write_durably
from protocols.errors import MachineError

_STORES = ("a", "b")


class Place:
    """
    Args:
        front: path of the link; all else is in its folder.

    Attributes:
        front: as given.
        folder: of the view.
        copy: the synced copy.
        generations: see :class:`~fustor.treestore.generations.Generations`.
        reset: the file that asks for a new store.
    """

    def __init__(self, front: str) -> None:
        self.front = front.rstrip("/")
        self.folder = os.path.dirname(self.front)
        self.copy = self._path("copy")
        self.generations = self._path("generation")
        self.reset = self._path("reset")

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def current(self) -> str:
        """Folder of the front store; empty when there is none."""
        try:
            name = os.readlink(self.front)
        except OSError:
            return ""
        return self._path(name) if name in _STORES and os.path.isdir(self._path(name)) else ""

    def other(self) -> str:
        """Folder of the store that is not the front, whatever is in it."""
        current = self.current()
        return next(self._path(name) for name in _STORES if self._path(name) != current)

    def back(self) -> str:
        """
        The same, with nothing in it.

        Raises:
            MachineError: what was there can't be removed.
        """
        path = self.other()
        self._remove(path)
        return path

    def resetting(self) -> str | None:
        """Uuid of the new store that was asked for; empty when it is not begun; None when there was none asked for."""
        try:
            with open(self.reset, encoding="ascii", errors="replace") as file:
                return file.read(100)
        except OSError:
            return None

    def note_reset(self, uuid: str) -> None:
        """
        Write down which store is the new one; empty: it is to be begun again.

        Raises:
            MachineError: it can't be.
        """
        write_durably(self.reset, uuid.encode())

    def end_reset(self) -> None:
        """
        There is nothing more to be built.

        Raises:
            MachineError: it can't be written down.
        """
        self._remove(self.reset)

    def make_front(self, path: str) -> str:
        """
        Make the back the front, durably, at once for everybody; the folder of the store that was it before, or empty.

        Raises:
            MachineError: it can't be; the front is what it was.
        """
        before = self.current()
        link = self.front + ".new"
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(link)
            os.symlink(os.path.basename(path), link)
            if os.path.isdir(self.front) and not os.path.islink(self.front):
                self.set_aside(self.front)
            os.rename(link, self.front)
            sync_folder(self.folder)
        except OSError as error:
            raise MachineError(f"{self.front}: can't be made to lead to {path}: {error.strerror}") from None
        return before

    def set_aside(self, path: str) -> str:
        """
        Move a store, or a copy, out of the way; where to.

        Raises:
            MachineError: it can't be moved.
        """
        aside = self.copy + ".aside" if path == self.copy else self._path("aside")
        self._remove(aside)
        try:
            os.rename(path, aside)
        except OSError as error:
            raise MachineError(f"{path}: can't be moved to {aside}: {error.strerror}; move it away by hand") from None
        return aside

    def remove(self, path: str) -> None:
        """
        Remove a store that is no longer needed.

        Raises:
            MachineError: it can't be.
        """
        self._remove(path)

    def forget_unfinished(self) -> None:
        """Remove what copies that were cut off have left."""
        for path in glob.glob(glob.escape(self.copy) + ".*.tmp"):
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _remove(self, path: str) -> None:
        try:
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            elif os.path.lexists(path):
                os.unlink(path)
        except OSError as error:
            raise MachineError(f"{path}: can't be removed: {error.strerror}") from None
