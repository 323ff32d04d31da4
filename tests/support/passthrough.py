"""
A slow storage: a directory seen through FUSE, with a delay before every answer about attributes, and one name that
hangs.

As a program: ``passthrough.py ORIGIN MOUNTPOINT DELAY_MS HANGS``, in the foreground until it is unmounted. Questions
about a path with a component HANGS are answered once the file ``ORIGIN.answers`` is there. It runs in a process of
its own, with a thread for every question, and when it ends, nobody hangs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

NUMBERS = ("st_mode", "st_size", "st_ino", "st_nlink", "st_uid", "st_gid")
TIMES = ("st_atime", "st_mtime", "st_ctime")


class SlowStorage:
    """``origin`` mounted at ``mountpoint``. To be closed, whatever happened."""

    def __init__(self, origin: Path, mountpoint: Path, *, delay_ms: int, hangs: str) -> None:
        self.mountpoint = mountpoint
        self._answers = origin.with_name(origin.name + ".answers")
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(origin), str(mountpoint), str(delay_ms), hangs], stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 30
        while not os.path.ismount(mountpoint):
            assert self._process.poll() is None, f"the file system ended with {self._process.returncode}"
            assert time.monotonic() < deadline, "waited 30 s for the mount"
            time.sleep(0.02)

    def release(self) -> None:
        """Nothing hangs any more."""
        self._answers.touch()

    def close(self) -> None:
        """Unmount; whoever hangs gets an error."""
        self.release()
        subprocess.run(["umount", "--lazy", str(self.mountpoint)], check=False)
        self._process.kill()
        self._process.wait()


def unavailable() -> str:
    """Why this can't be had here; empty when it can."""
    try:
        import mfusepy  # noqa: F401
    except (ImportError, OSError) as error:
        return f"no FUSE library: {error}"
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "mounting FUSE needs root and /dev/fuse"
    return ""


def serve(origin: str, mountpoint: str, delay: float, hangs: str) -> None:
    """Mount and serve until unmounted."""
    import mfusepy

    class Passthrough(mfusepy.Operations):  # type: ignore[misc, unused-ignore]
        use_ns = True

        def _at(self, path: str) -> str:
            while hangs in path.split("/") and not os.path.exists(origin + ".answers"):
                time.sleep(0.02)
            return origin + path

        def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
            time.sleep(delay)
            status = os.lstat(self._at(path))
            numbers = {name: getattr(status, name) for name in NUMBERS}
            return numbers | {name: getattr(status, f"{name}_ns") for name in TIMES}

        def readdir(self, path: str, fh: int) -> Iterable[str]:
            return [".", "..", *os.listdir(self._at(path))]

        def readlink(self, path: str) -> str:
            return os.readlink(self._at(path))

        def mkdir(self, path: str, mode: int) -> int:
            os.mkdir(self._at(path), mode)
            return 0

        def unlink(self, path: str) -> int:
            os.unlink(self._at(path))
            return 0

        def rename(self, old: str, new: str) -> int:
            os.rename(self._at(old), self._at(new))
            return 0

        def create(self, path: str, mode: int, fi: object = None) -> int:
            return os.open(self._at(path), os.O_WRONLY | os.O_CREAT, mode)

        def open(self, path: str, flags: int) -> int:
            return os.open(self._at(path), flags)

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            return os.pwrite(fh, data, offset)

        def release(self, path: str, fh: int) -> int:
            os.close(fh)
            return 0

    mfusepy.FUSE(Passthrough(), mountpoint, foreground=True, nothreads=False, attr_timeout=0, entry_timeout=0)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], float(sys.argv[3]) / 1000, sys.argv[4])
