"""
Be the template of a guardian: ``python -P -m fustor.runtime.template``, or a fork of the process that is to become
the guardian, so that what that one has imported is not imported again.

It imports the modules in ``$FUSTOR_MODULES``, which have a function ``start`` that never returns, and says which they
are. Then it forks for each request of its guardian (:mod:`fustor.guardian.template`), twice, so that the child is the
guardian's: its nearest subreaper adopts it (prctl(2)). The child takes on all that exec would have given it: session,
descriptors under their numbers, environment, command line, limits; also where others look for them, in /proc.

There is one thread and nothing is open, so forking is safe. A template whose files were changed declines and ends: what
is started next shall be of the program that is installed then. What this module does not do: anything else; it has no
state, and may be killed at any time.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import importlib
import json
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from fustor.guardian.process import Program, take_on
from fustor.guardian.template import BEGUN, MODULES, MOST_BYTES, MOST_FDS


def _areas() -> tuple[int, int, int, int]:
    """Begin and end of command line and environment in our memory (proc_pid_stat(5), fields 48 to 51)."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    arguments, arguments_end, environment, environment_end = (int(field) for field in fields[45:49])
    return arguments, arguments_end, environment, environment_end


def _joined(words: Sequence[bytes]) -> bytes:
    return b"".join(word + b"\0" for word in words)


def _environment_text(env: dict[bytes, bytes]) -> bytes:
    return _joined([key + b"=" + value for key, value in env.items()])


def show(argv: Sequence[bytes], env: dict[bytes, bytes]) -> None:
    """
    Be seen with this command line and environment, from outside too: /proc shows the memory that exec has filled. What
    is longer is cut off, and what is shorter is followed by zero bytes.
    """
    os.environb.clear()
    os.environb.update(env)  # copies: nothing refers to the old place any more
    arguments, arguments_end, environment, environment_end = _areas()
    for text, begin, end in (
        (_joined(argv), arguments, arguments_end),
        (_environment_text(env), environment, environment_end),
    ):
        size = end - begin
        ctypes.memmove(begin, text[:size].ljust(size, b"\0"), size)


def place(received: Sequence[int], numbers: Sequence[int], kept: Sequence[int]) -> None:
    """Have the descriptors ``received`` under ``numbers``, inheritable, and beside 0, 1, 2 and ``kept`` no other."""
    above = max([2, *numbers, *kept, *received]) + 1
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above) for fd in received]
    for fd, number in zip(moved, numbers, strict=True):
        os.dup2(fd, number, inheritable=True)
    last = 2
    for number in sorted({*numbers, *kept} - {0, 1, 2}):
        os.closerange(last + 1, number)
        last = number
    os.closerange(last + 1, max(map(int, os.listdir("/proc/self/fd"))) + 1)


class _Files:
    """The files that our own modules, and what they belong to, came from, as they were then."""

    def __init__(self, names: Iterable[str]) -> None:
        roots = {"fustor", "protocols", *(name.partition(".")[0] for name in names)}
        paths = [
            module.__file__
            for name, module in list(sys.modules.items())
            if name.partition(".")[0] in roots and module.__file__
        ]
        self._before = [(path, _print(path)) for path in paths]

    def changed(self) -> bool:
        return any(_print(path) != before for path, before in self._before)


def _print(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def load(names: Sequence[str]) -> dict[str, Callable[[], NoReturn]]:
    """``start`` of each module that can be imported and has one."""
    found = {}
    for name in names:
        try:
            start = getattr(importlib.import_module(f"{name}.__main__"), "start", None)
        except (Exception, SystemExit):
            traceback.print_exc()  # who wants it anyway sees the same of a process of its own
            continue
        if start is not None:
            found[name] = start
    return found


class Request:
    """
    A request of the guardian.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """

    def __init__(self, packet: bytes, fds: Sequence[int]) -> None:
        fields: dict[str, Any] = json.loads(packet)
        null, log, self.writer, self.waiting, *self.received = fds
        self.null = null
        self.numbers: list[int] = fields["fds"]
        self.program = Program(
            [os.fsencode(word) for word in fields["argv"]],
            {os.fsencode(key): os.fsencode(value) for key, value in fields["env"].items()},
            self.numbers,
            log,
            int(fields["data_bytes"]),
            str(fields["oom_score"]).encode(),
        )

    @property
    def module(self) -> str:
        """The name of what is wanted."""
        return os.fsdecode(self.program.argv[-1])

    def close(self) -> None:
        """Close what came with it."""
        for fd in (self.null, self.program.log, self.writer, self.waiting, *self.received):
            os.close(fd)


def _interpreter(env: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """What of an environment the interpreter itself heeds, which it has done by now."""
    return {key: value for key, value in env.items() if key.startswith((b"PYTHON", b"LD_", b"LC_", b"LANG", b"MALLOC"))}


def fits(request: Request, starts: dict[str, Callable[[], NoReturn]], files: _Files) -> bool:
    """Whether a fork of ours is what is wanted."""
    _, _, environment, environment_end = _areas()
    return (
        request.module in starts
        and len(_environment_text(request.program.env)) <= environment_end - environment
        and _interpreter(request.program.env) == _interpreter(dict(os.environb))
        and not files.changed()
    )


def _twice() -> int:
    """Fork a child that is nobody's but the subreaper's; its pid, or 0 in it."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    first = os.fork()
    if not first:
        second = os.fork()
        if not second:
            os.close(reader)
            os.close(writer)
            return 0
        os.write(writer, b"%d" % second)
        os._exit(0)
    os.close(writer)
    pid = os.read(reader, 16)
    os.close(reader)
    os.waitpid(first, 0)  # from here on its child is adopted
    if not pid:
        raise OSError(errno.EAGAIN, "no process could be made")
    return int(pid)


def serve(sock: socket.socket, starts: dict[str, Callable[[], NoReturn]]) -> Request:
    """Fork for each request; returns in each child, and never in the template itself."""
    files = _Files(starts)
    gc.collect()
    gc.freeze()
    try:
        sock.send(json.dumps({"modules": list(starts)}).encode())
    except BrokenPipeError:
        os._exit(0)
    while True:
        try:
            packet, fds, _, _ = socket.recv_fds(sock, MOST_BYTES, MOST_FDS, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:  # it had not read our last answer
            os._exit(0)
        if not packet:
            os._exit(0)
        request = Request(packet, fds)
        if not fits(request, starts, files):
            sock.send(b"0")
            if files.changed():
                os._exit(0)
            request.close()
            continue
        try:
            pid = _twice()
        except OSError:
            traceback.print_exc()
            pid = -1
        if not pid:
            sock.close()
            return request
        sock.send(b"%d" % max(pid, 0))
        request.close()


def become(request: Request) -> None:
    """Be the process that was asked for, up to its first line; ends it where that can't be."""
    program = request.program
    failure = errno.EINVAL
    try:
        take_on(program, request.null, request.waiting)
        # Not in the way of a number that somebody else is to have.
        request.writer = fcntl.fcntl(request.writer, fcntl.F_DUPFD_CLOEXEC, max([2, *request.numbers]) + 1)
        place(request.received, request.numbers, [request.writer])
        show(program.argv, program.env)
        sys.orig_argv[:] = [os.fsdecode(word) for word in program.argv]
        sys.argv[:] = [sys.modules[f"{request.module}.__main__"].__file__ or ""]
        os.close(request.writer)
    except BaseException as error:
        failure = getattr(error, "errno", None) or failure
        traceback.print_exc()
        os.write(request.writer, b"%d" % failure)
        os._exit(127)


def begin(names: Sequence[str], run: str, log: str) -> None:
    """
    Fork the first template of the guardian that this process is about to become, which ``$FUSTOR_TEMPLATE`` tells it.
    A process that was not started as ``python -P -m …`` is no template for others that are, and forks none.

    Args:
        names: of its modules.
        run: folder that becomes its working directory.
        log: file for its output.

    Raises:
        OSError: no process or socket could be made.
    """
    if sys.orig_argv[1:3] != ["-P", "-m"]:
        return
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    token = os.urandom(16).hex()
    guardian = os.getpid()
    pid = os.fork()
    if not pid:
        try:
            os.setsid()
            os.chdir(run)
            for path, flags, number in ((os.devnull, os.O_RDONLY, 0), (log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 1)):
                os.dup2(os.open(path, flags, 0o600), number)
            os.dup2(1, 2)
            ours.detach()  # closed like everything else
            place([theirs.detach()], [3], [])
            own = {"NAME": "template", "TOKEN": token, "GUARDIAN_PID": str(guardian)}
            env = {b"FUSTOR_" + key.encode(): value.encode() for key, value in own.items()}
            show([os.fsencode(sys.executable), b"-P", b"-m", b"fustor.runtime.template"], {**os.environb, **env})
            be(socket.socket(fileno=3), names)
        except Exception:
            traceback.print_exc()
        sys.exit(1)
    theirs.close()
    ours.set_inheritable(True)
    os.environb[BEGUN] = b"%d %d %s" % (pid, ours.detach(), token.encode())


def be(sock: socket.socket, names: Sequence[str]) -> NoReturn:
    """Import, serve, and become."""
    starts = load(names)
    request = serve(sock, starts)
    become(request)
    starts[request.module]()


def main() -> NoReturn:
    """As a program of its own."""
    fd = json.loads(os.environ["FUSTOR_FDS"])["template"]
    be(socket.socket(fileno=fd), os.environ[os.fsdecode(MODULES)].split())


if __name__ == "__main__":
    main()
