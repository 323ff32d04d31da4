"""What a test asks of the kernel that Python has no call for: mounts, exchanging renames, files without a name."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

AT_FDCWD = -100
RENAME_EXCHANGE = 2

_libc = ctypes.CDLL(None, use_errno=True)


def exchange(one: bytes, other: bytes) -> None:
    """
    Two names change places in one step, renameat2(2).

    Raises:
        OSError: as the call.
    """
    if _libc.renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), os.fsdecode(one))


def nameless_file(folder: Path, name: str, content: bytes) -> None:
    """Write a file that has no name (open(2), O_TMPFILE), then give it one: its creation and its content are one
    step."""
    fd = os.open(folder, os.O_TMPFILE | os.O_WRONLY)
    try:
        os.write(fd, content)
        os.link(f"/proc/self/fd/{fd}", folder / name, src_dir_fd=fd, follow_symlinks=True)
    finally:
        os.close(fd)


def cannot_mount() -> str:
    """Why this process may not mount; empty when it may."""
    if os.geteuid() != 0:
        return "mounting needs root"
    # Root without CAP_SYS_ADMIN is told so before the arguments are looked at.
    _libc.mount(None, None, None, 0, None)
    return "mounting needs CAP_SYS_ADMIN" if ctypes.get_errno() == errno.EPERM else ""


def mount(*arguments: str) -> None:
    """mount(8)."""
    subprocess.run(["mount", *arguments], check=True)


def umount(where: Path) -> None:
    """umount(8), whoever has it open."""
    subprocess.run(["umount", "--lazy", str(where)], check=True)


def umount_all(where: Path) -> None:
    """Whatever is mounted there, if anything. (``os.path.ismount`` does not see a bind mount of the same device.)"""
    while not subprocess.run(["umount", "--lazy", str(where)], check=False, stderr=subprocess.DEVNULL).returncode:
        pass


@contextmanager
def mounts() -> Iterator[ExitStack]:
    """Takes paths by ``callback(umount, path)``, so that nothing stays mounted after a test that failed."""
    with ExitStack() as stack:
        yield stack
