"""
A file system whose answers can be withheld or take their time: a storage that hangs, on demand, or is slow.

The kernel's FUSE protocol on ``/dev/fuse`` (linux/fuse.h), read-only and single-threaded, in a process of its own:
should the test die, the process ends, the connection is aborted, and nobody hangs for ever. Needs root and
``/dev/fuse``.

As a program: ``fuse.py MOUNTPOINT DELAY_MS``. The first line on stdin is the tree as JSON, directories as objects and
files as numbers (their size). What is asked about attributes is answered after the delay, to any number who ask at
once; with a delay, what was said holds for a while, as with NFS. Then commands, one a line: ``hang
NAME`` withholds the answer to every question about the way to NAME, ``release`` gives the answers withheld and
withholds none any more; end of file ends the program. On stdout: ``mounted``, then ``held NAME`` per answer withheld,
and ``released``.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import json
import os
import select
import stat
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOOKUP, FORGET, GETATTR, INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, BATCH_FORGET = 1, 2, 3, 26, 27, 28, 29, 36, 42
PARALLEL_DIROPS = 1 << 18
MNT_DETACH = 2
#: Seconds for which what a slow storage said of a directory or a file is kept (acdirmin, acregmin of nfs(5)).
DIRECTORY_HOLDS, FILE_HOLDS = 30, 3

Tree = Mapping[str, Any]


class HangingStorage:
    """A mounted tree. To be closed, whatever happened."""

    def __init__(self, mountpoint: Path, tree: Tree, delay_ms: int = 0) -> None:
        mountpoint.mkdir(exist_ok=True)
        self.root = mountpoint
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(mountpoint), str(delay_ms)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self._tell(json.dumps(tree))
            self._expect("mounted")
        except BaseException:
            self.close()
            raise

    def _expect(self, line: str) -> None:
        assert self._process.stdout is not None
        said = self._process.stdout.readline().rstrip("\n")
        assert said == line, f"{said!r} where {line!r} was expected"

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def hang(self, name: str) -> None:
        """From now on nothing is answered about ``name``."""
        self._tell(f"hang {name}")
        self._expect(f"hangs {name}")

    def wait_held(self, name: str) -> None:
        """Until somebody hangs at ``name``."""
        self._expect(f"held {name}")

    def release(self) -> None:
        """Answer everything."""
        self._tell("release")
        assert self._process.stdout is not None
        while self._process.stdout.readline() not in ("released\n", ""):
            pass

    def close(self) -> None:
        """End it; whoever hangs gets an error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def unavailable() -> str:
    """Why this can't be had here; empty when it can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "no /dev/fuse"
    return ""


# -- the program ----------------------------------------------------------------------------------------------------


class Server:
    """One mount, until stdin ends."""

    def __init__(self, mountpoint: str, tree: Tree, delay: float) -> None:
        self._delay = delay
        self._due: deque[tuple[float, int, bytes]] = deque()
        self._nodes: list[tuple[str, Any]] = [("", None), ("", tree)]  # number → name, content
        self._children: dict[tuple[int, str], int] = {}
        self._add(1)
        self._hanging = ""
        self._held: list[tuple[int, bytes]] = []
        self._fd = os.open("/dev/fuse", os.O_RDWR | os.O_NONBLOCK)
        self._mountpoint = mountpoint.encode()
        self._libc = ctypes.CDLL(None, use_errno=True)
        options = f"fd={self._fd},rootmode=40000,user_id=0,group_id=0".encode()
        if self._libc.mount(b"test", self._mountpoint, b"fuse.test", 0, options):
            raise OSError(ctypes.get_errno(), "mount failed", mountpoint)

    def _add(self, node: int) -> None:
        content = self._nodes[node][1]
        if not isinstance(content, dict):
            return
        for name, below in content.items():
            self._nodes.append((name, below))
            self._children[node, name] = len(self._nodes) - 1
            self._add(len(self._nodes) - 1)

    def run(self) -> None:
        """Serve."""
        print("mounted", flush=True)
        try:
            while True:
                wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
                for ready in select.select([self._fd, sys.stdin], [], [], wait)[0]:
                    if ready == self._fd:
                        self._request()
                    elif not self._command(sys.stdin.readline().split()):
                        return
                while self._due and self._due[0][0] <= time.monotonic():
                    self._answer(*self._due.popleft()[1:])
        finally:
            self._libc.umount2(self._mountpoint, MNT_DETACH)

    def _command(self, words: list[str]) -> bool:
        if words[:1] == ["hang"]:
            self._hanging = words[1]
            print(f"hangs {words[1]}", flush=True)
        elif words == ["release"]:
            self._hanging = ""
            for unique, answer in self._held:
                self._answer(unique, answer)
            self._held.clear()
            print("released", flush=True)
        return bool(words)

    def _request(self) -> None:
        try:
            data = os.read(self._fd, 1 << 18)
        except (BlockingIOError, FileNotFoundError):
            return  # taken back meanwhile
        _, opcode, unique, node = struct.unpack_from("IIQQ", data)
        body = data[40:]
        if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
            return
        name = self._nodes[node][0] if node < len(self._nodes) else ""
        error, answer = 0, b""
        if opcode == INIT:
            answer = struct.pack("IIIIHHIIHH8I", 7, 31, 0, PARALLEL_DIROPS, 12, 9, 4096, 1, 0, 0, *[0] * 8)
        elif opcode == LOOKUP:
            name = os.fsdecode(body.rstrip(b"\0"))
            child = self._children.get((node, name), 0)
            error = 0 if child else errno.ENOENT
            holds = self._holds(child)
            answer = struct.pack("QQQQII", child, 0, holds, holds, 0, 0) + self._attributes(child) if child else b""
        elif opcode == GETATTR:
            answer = struct.pack("QII", self._holds(node), 0, 0) + self._attributes(node)
        elif opcode == OPENDIR:
            answer = struct.pack("QII", 0, 0, 0)
        elif opcode == READDIR:
            answer = self._entries(node, *struct.unpack_from("QI", body, 8))
        elif opcode != RELEASEDIR:
            error = errno.ENOSYS
        whole = struct.pack("IiQ", 16 + len(answer), -error, unique) + answer
        if name and name == self._hanging:
            self._held.append((unique, whole))
            print(f"held {name}", flush=True)
        elif self._delay and opcode in (LOOKUP, GETATTR):
            self._due.append((time.monotonic() + self._delay, unique, whole))
        else:
            self._answer(unique, whole)

    def _answer(self, unique: int, whole: bytes) -> None:
        try:
            os.write(self._fd, whole)
        except FileNotFoundError:
            return  # nobody waits for it any more

    def _holds(self, node: int) -> int:
        """Seconds for which the kernel need not ask again."""
        if not self._delay:
            return 0
        return DIRECTORY_HOLDS if isinstance(self._nodes[node][1], dict) else FILE_HOLDS

    def _attributes(self, node: int) -> bytes:
        content = self._nodes[node][1]
        directory = isinstance(content, dict)
        mode = stat.S_IFDIR | 0o755 if directory else stat.S_IFREG | 0o644
        size = 0 if directory else int(content)
        return struct.pack("6Q10I", node, size, 0, 1, 1, 1, 0, 0, 0, mode, 1 + directory, 0, 0, 0, 512, 0)

    def _entries(self, node: int, offset: int, size: int) -> bytes:
        answer = b""
        content = self._nodes[node][1]
        for place, name in enumerate(itertools.islice(content, offset, None), offset):
            raw = os.fsencode(name)
            child = self._children[node, name]
            entry = struct.pack("QQII", child, place + 1, len(raw), 4 if isinstance(content[name], dict) else 8) + raw
            entry += bytes(-len(entry) % 8)
            if len(answer) + len(entry) > size:
                break
            answer += entry
        return answer


if __name__ == "__main__":
    Server(sys.argv[1], json.loads(sys.stdin.readline()), int(sys.argv[2]) / 1000).run()
