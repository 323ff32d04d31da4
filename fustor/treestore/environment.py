"""
Opening the LMDB environment of a tree store, and refusing what is not ours, not whole, or newer than we are.

Commits are not synced one by one: a killed process loses nothing, a power cut may tear the file. So there is a stamp
beside it (:mod:`fustor.treestore.stamp`); a store that an earlier boot wrote and did not close is not opened at all,
neither is one that is shorter than it says (reading it would be a SIGBUS). ``writemap`` is never used, and the lock
file has its room before it is mapped: a full disk would be one too.

What this module does not do: it decides nothing about a store that can't be used (the view sets it aside).
"""

from __future__ import annotations

import errno
import os
import time
import uuid as uuids
from collections.abc import Callable

import attrs
import lmdb

from fustor.treestore.errors import StoreFullError as StoreFullError
from fustor.treestore.errors import StoreMissingError as StoreMissingError
from fustor.treestore.errors import StoreTornError as StoreTornError
from fustor.treestore.errors import StoreUnusableError as StoreUnusableError
from fustor.treestore.format import FORMAT, pack_id, unpack_id
from fustor.treestore.stamp import Stamp, read_stamp, write_stamp
from fustor.treestore.stamp import boot_id as boot_id
from protocols.errors import MachineError

#: Names in the environment; the ids of the sources have one each, see ``ids_name``.
META, TREE, FILES = b"meta", b"tree", b"files"
#: Most sources of a view, and most readers at a time (LMDB: 126 by default).
MAX_SOURCES, MAX_READERS = 1024, 512
#: Name of LMDB's lock file; bytes of it for each reader and twice for its head (mdb.c: MDB_reader, MDB_txninfo).
_LOCK, _READER_BYTES = "lock.mdb", 64
#: Room for the map in bytes: address space, not disk, for the file is sparse and grows as needed.
MAP_SIZE = 64 << 30

FORMAT_KEY, UUID_KEY = b"format", b"uuid"
GENERATION_KEY, NEXT_ID_KEY = b"generation", b"next-id"
#: There while another store is about to become the front in the place of this one.
RETIRED_KEY = b"retired"


def ids_name(index: int) -> bytes:
    """Name of the database that maps the directory ids of source ``index`` to store ids."""
    return b"ids.%d" % index


def source_key(index: int) -> bytes:
    """Key of the record of source ``index`` in ``meta``."""
    return b"source.%d" % index


def parsers_key(index: int) -> bytes:
    """Key in ``meta`` of the parsers that source ``index`` has, joined by commas; it is absent where it has none."""
    return b"parsers.%d" % index


def boottime_ns() -> int:
    """CLOCK_BOOTTIME: ns since this boot, suspend included, the same for all processes of the host."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@attrs.define(eq=False)
class Environment:
    """
    An open environment.

    Attributes:
        path: its folder.
        env: the LMDB environment.
        meta, tree, files: handles of the databases.
        uuid: identity of the store.
        inode: (device, inode) of the file that is open; another one at ``path`` is another store.
    """

    path: str
    env: lmdb.Environment
    meta: lmdb._Database
    tree: lmdb._Database
    files: lmdb._Database
    uuid: str
    inode: tuple[int, int]

    def used_bytes(self) -> int:
        """How much of the map is in use, free pages within it included."""
        return (self.env.info()["last_pgno"] + 1) * self.env.stat()["psize"]

    def fill_up(self) -> None:
        """
        Make the file as long as it says that it is: LMDB does not write pages that were free again by the commit.

        Raises:
            MachineError: it can't be.
        """
        file, used = data_file(self.path), self.used_bytes()
        try:
            if os.stat(file).st_size < used:
                os.truncate(file, used)
        except OSError as error:
            raise MachineError(f"{file}: {error.strerror}") from None

    def close(self) -> None:
        """Close it; transactions must have ended."""
        self.env.close()


def data_file(path: str) -> str:
    """LMDB's file in the folder of a store."""
    return os.path.join(path, "data.mdb")


def inode_of(path: str) -> tuple[int, int] | None:
    """(device, inode) of the store that is at ``path`` now (one stat(2)); None: there is none that can be seen."""
    try:
        stat = os.stat(data_file(path))
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _open(path: str, *, readonly: bool, map_size: int, max_readers: int) -> lmdb.Environment:
    try:
        return lmdb.open(
            path,
            map_size=map_size,
            max_dbs=MAX_SOURCES + 3,
            max_readers=max_readers,
            readonly=readonly,
            create=not readonly,
            mode=0o600,
            sync=False,
            metasync=False,
            writemap=False,
            meminit=False,
            readahead=False,
        )
    except (lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.CorruptedError) as error:
        raise StoreUnusableError(f"{path}: not a tree store: {error}") from None
    except lmdb.Error as error:
        raise MachineError(f"{path}: the tree store can't be opened: {error}") from None


def _reserve_lock(path: str, max_readers: int) -> None:
    """
    Room for LMDB's lock file: it is written to through a map, which on a full disk would be a SIGBUS (mmap(2)).

    Raises:
        StoreFullError: there is none.
        MachineError: the file can't be made.
    """
    file = os.path.join(path, _LOCK)
    try:
        fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(fd).st_size
        try:
            os.posix_fallocate(fd, 0, size or (max_readers + 2) * _READER_BYTES)
        except OSError:
            if not size:
                os.unlink(file)
            raise
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFullError(f"{path}: no room for the tree store: {error.strerror}") from None
        raise MachineError(f"{path}: the tree store can't be opened: {error.strerror}") from None


def _check_stamp(path: str, boot: str) -> Stamp:
    stamp = read_stamp(path)
    if stamp is None:
        raise StoreUnusableError(f"{path}: not a tree store: it has no stamp")
    if stamp.torn(boot):
        raise StoreTornError(f"{path}: written in an earlier boot and not closed; it may be torn")
    return stamp


def _check_length(path: str, env: lmdb.Environment) -> os.stat_result:
    """Compare the file with what its meta page says, before any other page is read."""
    said = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    stat = os.stat(data_file(path))
    if stat.st_size < said:
        raise StoreUnusableError(f"{path}: {stat.st_size} bytes of a tree store of {said}: it was cut off")
    return stat


def _verify(path: str, value: Callable[[bytes], bytes | None]) -> str:
    """Check the stamp; the uuid."""
    stamp, uuid = value(FORMAT_KEY), value(UUID_KEY)
    if stamp is None or uuid is None:
        raise StoreUnusableError(f"{path}: an LMDB environment, but not a tree store")
    number = unpack_id(stamp)
    if number != FORMAT:
        raise StoreUnusableError(f"{path}: tree store of format {number}, this program reads {FORMAT}")
    return uuid.decode()


def open_for_reading(path: str, *, map_size: int = MAP_SIZE, max_readers: int = MAX_READERS) -> Environment:
    """
    Open an existing store.

    Raises:
        StoreMissingError: there is none, or its first transaction is not committed yet.
        StoreTornError: a power cut may have torn it.
        StoreUnusableError: it is not ours, or not whole.
        MachineError: it can't be opened.
    """
    try:
        size = os.stat(data_file(path)).st_size
    except (FileNotFoundError, NotADirectoryError):
        raise StoreMissingError(f"{path}: no tree store here") from None
    except OSError as error:
        raise MachineError(f"{path}: {error.strerror}") from None
    if not size:
        raise StoreMissingError(f"{path}: no tree store here yet")
    _check_stamp(path, boot_id())
    env = _open(path, readonly=True, map_size=map_size, max_readers=max_readers)
    try:
        stat = _check_length(path, env)
        with env.begin() as txn:
            empty = not txn.stat()["entries"]
        if empty:
            raise StoreMissingError(f"{path}: no tree store here yet")
        try:
            meta = env.open_db(META, create=False)
        except (lmdb.NotFoundError, lmdb.IncompatibleError):
            raise StoreUnusableError(f"{path}: an LMDB environment, but not a tree store") from None
        with env.begin(db=meta) as txn:
            uuid = _verify(path, txn.get)
        try:
            tree, files = env.open_db(TREE, create=False), env.open_db(FILES, create=False)
        except (lmdb.NotFoundError, lmdb.IncompatibleError):
            raise StoreUnusableError(f"{path}: a tree store without its databases") from None
    except BaseException:
        env.close()
        raise
    return Environment(path, env, meta, tree, files, uuid, (stat.st_dev, stat.st_ino))


def open_for_writing(
    path: str, *, map_size: int = MAP_SIZE, max_readers: int = MAX_READERS, floor: int = 0
) -> Environment:
    """
    Open a store, or make a new one. There may be one writer.

    The generation of a new store starts at the wall clock in microseconds, or at ``floor`` when that is more, so that
    it is above any that a store before it at this place reached.

    Raises:
        StoreTornError: a power cut may have torn what is there.
        StoreUnusableError: it is not ours, or not whole.
        StoreFullError: no room to make it.
        MachineError: the folder can't be written.
    """
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        raise MachineError(f"{path}: the folder can't be made: {error.strerror}") from None
    if os.path.exists(os.path.join(path, _LOCK)) and not os.path.exists(data_file(path)):
        # Who reads the one that was here could not follow: a process may open a folder but once.
        raise StoreUnusableError(f"{path}: a tree store that has lost its file")
    _reserve_lock(path, max_readers)
    mine, file = Stamp(boot_id(), clean=False), data_file(path)
    exists = os.path.lexists(file)
    if exists and os.path.isfile(file) and not os.path.getsize(file):
        raise StoreUnusableError(f"{path}: the file of the tree store is empty: it was cut off")
    if not exists or _check_stamp(path, mine.boot) != mine:
        # The disk must know before anything else may reach it.
        write_stamp(path, mine)
    env = _open(path, readonly=False, map_size=map_size, max_readers=max_readers)
    try:
        stat = _check_length(path, env)
        with env.begin() as txn:
            empty = not txn.stat()["entries"]
        if not empty:
            try:
                handle = env.open_db(META, create=False)
            except (lmdb.NotFoundError, lmdb.IncompatibleError):
                raise StoreUnusableError(f"{path}: an LMDB environment, but not a tree store") from None
            with env.begin(db=handle) as txn:
                _verify(path, txn.get)
        with env.begin(write=True) as txn:
            meta, tree, files = (env.open_db(name, txn) for name in (META, TREE, FILES))
            if txn.get(FORMAT_KEY, db=meta) is None:
                txn.put(FORMAT_KEY, pack_id(FORMAT), db=meta)
                txn.put(UUID_KEY, str(uuids.uuid4()).encode(), db=meta)
                txn.put(GENERATION_KEY, pack_id(max(time.time_ns() // 1000, floor)), db=meta)
            uuid = _verify(path, lambda key: txn.get(key, db=meta))
            txn.delete(RETIRED_KEY, db=meta)
    except lmdb.Error as error:
        env.close()
        raise _translate(path, error) from None
    except BaseException:
        env.close()
        raise
    return Environment(path, env, meta, tree, files, uuid, (stat.st_dev, stat.st_ino))


def close_cleanly(environment: Environment) -> None:
    """
    Bring everything to the disk, close it, then mark the store as whole.

    Raises:
        MachineError: the disk did not take it; the store is closed all the same, without the mark.
    """
    try:
        environment.fill_up()
        environment.env.sync(True)
    except lmdb.Error as error:
        raise _translate(environment.path, error) from None
    finally:
        environment.close()
    write_stamp(environment.path, Stamp(boot_id(), clean=True))


def _translate(path: str, error: lmdb.Error) -> MachineError:
    if isinstance(error, lmdb.MapFullError | lmdb.DiskError):
        return StoreFullError(f"{path}: no room for the tree store: {error}")
    if isinstance(error, lmdb.CorruptedError | lmdb.PageNotFoundError | lmdb.PanicError):
        return StoreUnusableError(f"{path}: the tree store is damaged: {error}")
    return MachineError(f"{path}: {error}")


def translate(environment: Environment, error: lmdb.Error) -> MachineError:
    """``StoreFullError``, ``StoreUnusableError`` or another ``MachineError`` for an error of LMDB."""
    return _translate(environment.path, error)
