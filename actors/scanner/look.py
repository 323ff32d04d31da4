"""
Looking at one directory: open it, verify that it is the one that was meant, watch it, then list or lstat.

Everything is lstat'ed relative to the directory's own descriptor; symbolic links are never followed; names are bytes.
Each function may block for as long as the storage does. ``Place.at`` always names what is being touched, so that
somebody else can say where a thread hangs.

What this module does not do: talk to anybody.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator

import attrs

from actors.scanner.mounts import Mounts
from fustor.runtime.handling import Handling
from fustor.selection.denied import Denied
from fustor.selection.forbidden import Forbidden, item_of
from fustor.selection.patterns import Takes
from protocols.data import FAILED, LOST, OK, QUARANTINED, SAME, Result, Row, Task

#: From this many entries on a listing is sorted and sent in parts of this size.
PART = 4096
#: Times that fit in a message (msgpack integers), in ns since 1970. File systems can hold others.
_FIRST, _LAST = -(1 << 63), (1 << 64) - 1
#: A path longer than this is opened in steps: PATH_MAX is 4096 with the final NUL.
_STEP = 3000

Part = tuple[Result, list[Row]]
AddWatch = Callable[[int], int]


@attrs.define
class Place:
    """
    What a thread is touching: progress for whoever watches it (``count`` moves with every entry), and a ``note`` for
    whoever survives the process.
    """

    dir: int = 0
    name: bytes = b""
    count: int = 0
    note: Handling = attrs.Factory(Handling)


@attrs.frozen
class Looker:
    """
    The file system of one source, as one thread looks at it.

    Attributes:
        root: absolute path of the source.
        takes: which paths belong to it, None for all.
        denied: what this host leaves out, None for nothing.
        one_filesystem: do not enter other devices or mounts.
        mounts: the mount table.
        add_watch: watch a directory descriptor; returns its watch descriptor, or −errno.
        place: kept up to date while working.
        forbidden: what must not be touched.
    """

    root: bytes
    takes: Takes | None
    one_filesystem: bool
    mounts: Mounts
    add_watch: AddWatch
    place: Place
    denied: Denied | None = None
    forbidden: Forbidden = attrs.Factory(Forbidden)

    def look(self, task: Task) -> Iterator[Part]:
        """
        Do one task.

        Yields:
            Its results with their rows; more than one only for a big listing. Never raises for what the file system
            says.
        """
        place = self.place
        place.dir, place.name = task.dir, b""
        place.count += 1
        if task.path in self.forbidden.directories:
            yield _without(task, FAILED, QUARANTINED)
            return
        place.note.begin(item_of(task.path))
        try:
            yield from self._look(task)
        finally:
            place.note.end()

    def _look(self, task: Task) -> Iterator[Part]:
        self.mounts.refresh()
        try:
            fd = self._open(task.path, os.O_RDONLY if task.names is None else os.O_PATH)
        except OSError as error:
            yield _without(task, _status_of(error), error.errno or 0)
            return
        try:
            own = os.fstat(fd)
            if (task.dev, task.ino) != (0, 0) and (own.st_dev, own.st_ino) != (task.dev, task.ino):
                mount = not task.path and self.mounts.root_is_mount
                yield _without(task, LOST, 0, own=_row(b"", own), dev=own.st_dev, mount=mount)
            elif self.denied is not None and self.denied.hides_directory(task.path, own):
                # Below the root the question goes to the parent, which does not show it.
                yield _without(task, LOST if task.path else FAILED, errno.EPERM)
            elif task.names is not None:
                yield self._names(task, fd, own)
            elif task.known == (own.st_mtime_ns, own.st_ctime_ns):
                yield _without(task, SAME, 0)
            else:
                yield from self._list(task, fd)
        except OSError as error:
            yield _without(task, _status_of(error), error.errno or 0)
        finally:
            os.close(fd)

    def _open(self, path: bytes, how: int) -> int:
        flags = how | os.O_DIRECTORY | os.O_CLOEXEC
        if not path:
            return os.open(self.root, flags)
        whole = self.root.rstrip(b"/") + b"/" + path
        if len(whole) <= _STEP:
            return os.open(whole, flags | os.O_NOFOLLOW)
        at = os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        parts = path.split(b"/")
        while parts:
            step = [parts.pop(0)]
            while parts and sum(map(len, step)) + len(step) + len(parts[0]) < _STEP:
                step.append(parts.pop(0))
            how_now = flags if not parts else os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
            try:
                following = os.open(b"/".join(step), how_now | os.O_NOFOLLOW, dir_fd=at)
            finally:
                os.close(at)
            at = following
        return at

    def _crosses(self, path: bytes, own_dev: int, dev: int) -> bool:
        return self.one_filesystem and (dev != own_dev or path in self.mounts.below)

    def _names(self, task: Task, fd: int, own: os.stat_result) -> Part:
        rows: list[Row] = []
        gone: list[bytes] = []
        dirs: list[tuple[bytes, int, int]] = []
        links: list[tuple[bytes, int]] = []
        crossed: list[bytes] = []
        unreadable: list[bytes] = []
        # Whether it could be listed is known only to who tries; a change of its mode alone is no reason to list it.
        failed = 0 if os.access(".", os.R_OK | os.X_OK, dir_fd=fd, effective_ids=True) else errno.EACCES
        place, takes, denied, note = self.place, self.takes, self.denied, self.place.note.part
        forbidden = self.forbidden.names.get(task.path, ())
        prefix = task.path + b"/" if task.path else b""
        for name in task.names or ():
            if name in task.skip:
                continue
            if name in forbidden:
                unreadable.append(name)
                failed = QUARANTINED
                continue
            place.name = name
            place.count += 1
            note(name)
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    gone.append(name)
                    rows.append((name,))
                else:
                    unreadable.append(name)
                    failed = error.errno or errno.EIO
                continue
            is_dir = stat.S_ISDIR(status.st_mode)
            if (takes is not None and not takes(prefix + name, is_dir)) or (
                denied is not None and denied.hides(prefix + name, status)
            ):
                gone.append(name)
                rows.append((name,))
                continue
            try:
                rows.append(_row_at(fd, name, status))
            except OSError as error:
                unreadable.append(name)
                failed = failed or _lasting(error)
                continue
            if is_dir:
                dirs.append((name, status.st_dev, status.st_ino))
                if self._crosses(prefix + name, own.st_dev, status.st_dev):
                    crossed.append(name)
            elif status.st_nlink > 1:
                links.append((name, status.st_ino))
        note(b"")
        result = Result(
            dir=task.dir,
            status=OK,
            errno=failed,
            own=_row(b"", own),
            dev=own.st_dev,
            wd=0,
            lo=b"",
            hi=None,
            listed=False,
            last=True,
            dirs=tuple(dirs),
            gone=tuple(gone),
            links=tuple(links),
            crossed=tuple(crossed),
            unreadable=tuple(unreadable),
            mount=not task.path and self.mounts.root_is_mount,
            fstype="" if task.path else self.mounts.fstype,
        )
        return result, rows

    def _list(self, task: Task, fd: int) -> Iterator[Part]:
        wd = self.add_watch(fd)
        # Its own times too: what happened before the watch made no event.
        own = os.fstat(fd)
        with os.scandir(fd) as scan:
            entries = list(scan)
        if len(entries) <= PART:
            yield self._part(task, fd, own, wd, entries, b"", None)
            return
        entries.sort(key=lambda entry: os.fsencode(entry.name))
        lo = b""
        for at in range(0, len(entries), PART):
            part = entries[at : at + PART]
            hi = os.fsencode(entries[at + PART].name) if at + PART < len(entries) else None
            yield self._part(task, fd, own, wd if not at else 0, part, lo, hi)
            lo = hi or b""

    def _part(
        self,
        task: Task,
        fd: int,
        own: os.stat_result,
        wd: int,
        entries: list[os.DirEntry[str]],
        lo: bytes,
        hi: bytes | None,
    ) -> Part:
        rows: list[Row] = []
        dirs: list[tuple[bytes, int, int]] = []
        links: list[tuple[bytes, int]] = []
        crossed: list[bytes] = []
        unreadable: list[bytes] = []
        failed = 0
        place, takes, denied, encode = self.place, self.takes, self.denied, os.fsencode
        # Again: between the parts of a long listing names of other directories are looked at.
        place.note.begin(item_of(task.path))
        note, forbidden = place.note.part, self.forbidden.names.get(task.path, ())
        prefix = task.path + b"/" if task.path else b""
        s_isdir, s_isreg = stat.S_ISDIR, stat.S_ISREG
        for entry in entries:
            name = encode(entry.name)
            if name in task.skip:
                continue
            if name in forbidden:
                unreadable.append(name)
                failed = QUARANTINED
                continue
            place.name = name
            place.count += 1
            note(name)
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    unreadable.append(name)
                    failed = error.errno or errno.EIO
                continue
            mode = status.st_mode
            if takes is not None and not takes(prefix + name, s_isdir(mode)):
                continue
            if denied is not None and denied.hides(prefix + name, status):
                continue
            if s_isreg(mode) and _FIRST <= status.st_mtime_ns <= _LAST:
                if status.st_nlink > 1:
                    links.append((name, status.st_ino))
                rows.append(
                    (
                        name,
                        mode,
                        status.st_size,
                        status.st_mtime_ns,
                        status.st_ctime_ns,
                        status.st_ino,
                        status.st_uid,
                        status.st_gid,
                        status.st_nlink,
                    )
                )
                continue
            try:
                rows.append(_row_at(fd, name, status))
            except OSError as error:
                unreadable.append(name)
                failed = failed or _lasting(error)
                continue
            if s_isdir(mode):
                dirs.append((name, status.st_dev, status.st_ino))
                if self._crosses(prefix + name, own.st_dev, status.st_dev):
                    crossed.append(name)
            elif status.st_nlink > 1:
                links.append((name, status.st_ino))
        note(b"")
        return (
            Result(
                dir=task.dir,
                status=OK,
                errno=failed,
                own=_row(b"", own) if not lo else (),
                dev=own.st_dev,
                wd=wd,
                lo=lo,
                hi=hi,
                listed=True,
                last=hi is None,
                dirs=tuple(dirs),
                links=tuple(links),
                crossed=tuple(crossed),
                unreadable=tuple(unreadable),
                mount=not task.path and self.mounts.root_is_mount,
                fstype="" if task.path else self.mounts.fstype,
            ),
            rows,
        )


def _row_at(fd: int, name: bytes, status: os.stat_result) -> Row:
    """
    A row of any kind of entry.

    Raises:
        OSError: the target of a symlink can't be read: it was replaced or removed since its lstat, so an event of it
            is on its way; or the storage failed. Neither says that the name is gone.
    """
    row = _row(name, status)
    if stat.S_ISLNK(status.st_mode):
        return (*row, os.readlink(name, dir_fd=fd))
    return row


def _row(name: bytes, status: os.stat_result) -> Row:
    return (
        name,
        status.st_mode,
        status.st_size,
        min(max(status.st_mtime_ns, _FIRST), _LAST),
        min(max(status.st_ctime_ns, _FIRST), _LAST),
        status.st_ino,
        status.st_uid,
        status.st_gid,
        status.st_nlink,
    )


def _lasting(error: OSError) -> int:
    """The errno of a readlink that failed; 0 when the link was only replaced or removed meanwhile."""
    return 0 if error.errno in (errno.ENOENT, errno.EINVAL) else error.errno or errno.EIO


def _status_of(error: OSError) -> str:
    return LOST if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP) else FAILED


def _without(task: Task, status: str, code: int, *, own: Row = (), dev: int = 0, mount: bool = False) -> Part:
    """A result without rows."""
    return (
        Result(
            dir=task.dir,
            status=status,
            errno=code,
            own=own,
            dev=dev,
            mount=mount,
            wd=0,
            lo=b"",
            hi=None,
            listed=task.names is None,
            last=True,
        ),
        [],
    )
