"""
Making a store of the copy of one that is lost.

It is another store (a uuid of its own), as of an earlier moment: its generation goes on above all that were ever used,
and its sources count as not heard since, until a watermark says more. Positions are those of the copy, so that the
agents find out what is missing.

What this module does not do: it does not decide that a store is lost, and makes nothing the front.
"""

from __future__ import annotations

import datetime
import os
import time
import uuid

import attrs
import lmdb

from fustor.treestore.copying import unpack_copy
from fustor.treestore.environment import GENERATION_KEY, UUID_KEY, open_for_writing, translate
from fustor.treestore.format import pack_id, unpack_id
from fustor.treestore.reader import pack_source, unpack_source
from fustor.treestore.stamp import Stamp, boot_id, write_stamp
from protocols.errors import MachineError


def unpack_store(copy: str, folder: str) -> None:
    """
    Make a store in ``folder``, which does not exist, that is exactly what was copied.

    Raises:
        StoreMissingError, StoreUnusableError, StoreFullError, MachineError: see
            :func:`~fustor.treestore.copying.unpack_copy`.
    """
    try:
        os.makedirs(folder, 0o700)  # what it is in may be lost too
    except OSError as error:
        raise MachineError(f"{folder}: the folder can't be made: {error.strerror}") from None
    # Before the first page: should the host end here, this is no store.
    write_stamp(folder, Stamp(boot_id(), clean=False))
    unpack_copy(copy, folder)


def restore(copy: str, folder: str, floor: int, map_size: int) -> str:
    """
    Make a store in ``folder``, which does not exist, of ``copy``.

    Args:
        floor: its generation is not below.
        map_size: see ``MAP_SIZE``.

    Returns:
        what is to be said of it.

    Raises:
        StoreMissingError: there is no copy.
        StoreUnusableError: it can't be used.
        StoreFullError, MachineError: there can't be any store now.
    """
    unpack_store(copy, folder)
    try:
        made = datetime.datetime.fromtimestamp(os.stat(copy).st_mtime, datetime.UTC)
    except OSError as error:
        raise MachineError(f"{copy}: {error.strerror}") from None
    said = f"restored from a copy of {made:%Y-%m-%d %H:%M:%S} UTC: what was changed since may be missing"
    boot = boot_id()
    environment = open_for_writing(folder, map_size=map_size)
    try:
        with environment.env.begin(write=True, db=environment.meta) as txn:
            generation = unpack_id(txn.get(GENERATION_KEY, bytes(8)))
            txn.put(GENERATION_KEY, pack_id(max(generation, floor, time.time_ns() // 1000)))
            txn.put(UUID_KEY, str(uuid.uuid4()).encode())
            with txn.cursor() as cursor:
                found = cursor.set_range(b"source.")
                while found and cursor.key().startswith(b"source."):
                    source = unpack_source(cursor.value(), boot)
                    reasons = (*[one for one in source.reasons if not one.startswith("restored from")], said)
                    source = attrs.evolve(source, arrived_ns=0, complete=False, reasons=reasons)
                    cursor.put(cursor.key(), pack_source(source, boot))
                    found = cursor.next()
    except lmdb.Error as error:
        raise translate(environment, error) from None
    finally:
        environment.close()
    return said
