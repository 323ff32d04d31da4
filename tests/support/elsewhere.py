"""A mount whose backing can be written to behind its back, as by another host on a network file system."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path


def unavailable() -> str:
    """Why this can't be had here; empty when it can."""
    if shutil.which("bindfs") is None or not os.access("/dev/fuse", os.W_OK):
        return "needs bindfs and /dev/fuse"
    return ""


@contextlib.contextmanager
def mounted(backing: Path, root: Path) -> Iterator[None]:
    """``backing`` at ``root``, which is made; without a cache of attributes, so what is asked is what is there."""
    root.mkdir()
    subprocess.run(["bindfs", "-o", "attr_timeout=0,entry_timeout=0", backing, root], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", root], check=True)
