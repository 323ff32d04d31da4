"""
The template: a process that has imported what payloads are made of, and is forked to become one of them.

Importing takes ten times as long as forking, and what was imported before the fork is memory that all of them share.
It is no more than a short cut: whatever the template can't do, or not in time, fork and exec do, and one that is away
is started again. Its other end is :mod:`fustor.runtime.template`.

What this module does not do: start the template's process, or reap it.
"""

from __future__ import annotations

import array
import json
import os
import select
import socket
import sys

from fustor.guardian.process import Program

#: Seconds that it may take to fork; who waits is the guardian's loop, and a control actor that hangs is given 4.
FORK_SECONDS = 2.0
#: Bytes of a request, and descriptors that can come with one (unix(7), SCM_MAX_FD).
MOST_BYTES, MOST_FDS = 128 << 10, 250
#: In the environment of a template only: its modules (not on its command line, by which processes are told apart), and
#: room in /proc/PID/environ for what a child of it has more.
MODULES, ROOM, ROOM_BYTES = b"FUSTOR_MODULES", b"FUSTOR_ROOM", 16 << 10


#: In the environment of a guardian whose process has begun with a template already: its pid, the descriptor of the
#: socket to it, and its token.
BEGUN = b"FUSTOR_TEMPLATE"


def room() -> dict[str, str]:
    """For the environment of a daemon that is to begin with a template: what its children have more must fit in."""
    return {os.fsdecode(ROOM): "x" * ROOM_BYTES}


class TemplateLostError(Exception):
    """A template is of no more use."""


class Template:
    """
    Args:
        sock: SEQPACKET, connected to it; owned from now on.

    Attributes:
        modules: that it can become; none until it has said so.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.modules: frozenset[bytes] = frozenset()
        self._socket = sock

    def fileno(self) -> int:
        """Of the socket: readable when it has said something, or is gone."""
        return self._socket.fileno()

    def hear(self) -> bool:
        """Take what it says unasked: which modules it can become. False: it is of no more use."""
        try:
            said = self._socket.recv(MOST_BYTES, socket.MSG_DONTWAIT)
            self.modules = frozenset(str(module).encode() for module in json.loads(said)["modules"])
        except BlockingIOError:
            return True
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return True

    def module(self, program: Program) -> bytes:
        """The module of ``program`` if it can be forked; else empty."""
        start, module = program.argv[:-1], program.argv[-1]
        fits = start == [os.fsencode(sys.executable), b"-P", b"-m"] and len(program.fds) + 4 <= MOST_FDS
        return module if fits and module in self.modules else b""

    def fork(self, program: Program, null: int, writer: int, waiting: int) -> int:
        """
        Let it fork a child of ours that does what :func:`fustor.guardian.process.start` says of one.

        Returns:
            Its pid; 0 when the template declines.

        Raises:
            TemplateLostError: a child that it may have made ends as soon as the other end of ``waiting`` is closed.
        """
        request = {
            "argv": [os.fsdecode(word) for word in program.argv],
            "env": {os.fsdecode(key): os.fsdecode(value) for key, value in program.env.items()},
            "fds": program.fds,
            "data_bytes": program.data_bytes,
            "oom_score": program.oom_score.decode(),
        }
        packet = json.dumps(request).encode()
        if len(packet) > MOST_BYTES:
            return 0
        fds = array.array("i", [null, program.log, writer, waiting, *program.fds])
        try:
            self._socket.sendmsg([packet], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)], socket.MSG_DONTWAIT)
            answered = select.poll()
            answered.register(self._socket, select.POLLIN)
            if not answered.poll(1000 * FORK_SECONDS):
                raise TemplateLostError(f"it does not answer within {FORK_SECONDS:g} s")
            answer = self._socket.recv(64, socket.MSG_DONTWAIT)
        except OSError as error:
            raise TemplateLostError(str(error.strerror)) from None
        if not answer.isdigit():
            raise TemplateLostError("it is gone")
        return int(answer)

    def close(self) -> None:
        """Let go of it: it ends by itself when it is not stopped."""
        self._socket.close()
