"""
Whether a power cut may have torn the files of a store: said by a small file beside them, so that nothing of the store
has to be read to know.

It names the boot in which the store is being written, and whether everything was brought to the disk since. It is
written durably before the first page of a boot is, and after the last one is synced.

What this module does not do: it looks at no store, and decides nothing.
"""

from __future__ import annotations

import os

import attrs

from fustor.runtime.durable import read_json, write_json
from fustor.treestore.errors import StoreUnusableError

#: Name of the file in the folder of a store.
STAMP = "stamp"
#: Bytes of one at most.
_LARGEST = 4096


def boot_id() -> str:
    """Identity of this boot of the kernel (random(4): /proc/sys/kernel/random/boot_id)."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


@attrs.frozen
class Stamp:
    """
    Attributes:
        boot: the boot in which the store was last written.
        clean: all that was written is on the disk.
    """

    boot: str
    clean: bool

    def torn(self, boot: str) -> bool:
        """In ``boot``: what an earlier boot wrote may have reached the disk in part."""
        return not self.clean and self.boot != boot


def read_stamp(folder: str) -> Stamp | None:
    """
    The stamp of the store in ``folder``; None when there is none.

    Raises:
        StoreUnusableError: what is there is no stamp.
        MachineError: it can't be read.
    """
    path = os.path.join(folder, STAMP)
    try:
        value = read_json(path, _LARGEST)
    except ValueError:
        raise StoreUnusableError(f"{path}: no stamp of a tree store") from None
    if value is None:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("boot"), str) or type(value.get("clean")) is not bool:
        raise StoreUnusableError(f"{path}: no stamp of a tree store: a boot and whether it is clean are accepted")
    return Stamp(value["boot"], value["clean"])


def write_stamp(folder: str, stamp: Stamp) -> None:
    """
    Write the stamp of the store in ``folder``, durably, and with it the names that are in the folder.

    Raises:
        MachineError: it can't be written.
    """
    write_json(os.path.join(folder, STAMP), {"boot": stamp.boot, "clean": stamp.clean})
