"""
The connection to the watcher on which it passes its inotify descriptor, as one SEQPACKET message with SCM_RIGHTS.

The message is msgpack ``{"epoch": int, "mask": int, "work": endpoint}``; ours before it ``{"slot": int, "pid": int,
"rules": str}``. A watcher of other rules (patterns, what the host denies) closes the connection: one of the two has
still to be configured. Work comes from the endpoint, which is for this connection alone: what was sent to an earlier
one is lost with it, and handed out again. End of file on either side means that the other process is gone. See unix(7).
"""

from __future__ import annotations

import errno
import os
import socket

import attrs
from inotify_simple import INotify

from protocols.codec import pack, unpack
from protocols.errors import DecodeError


@attrs.define
class WatcherChannel:
    """
    An open channel. ``epoch`` and ``mask`` are the watcher's, work comes from ``work``, for this channel alone;
    ``add_watch`` watches on its instance.
    """

    connection: socket.socket
    inotify: INotify
    epoch: int
    mask: int
    work: str

    @classmethod
    def connect(cls, path: str, slot: int, rules: str = "") -> WatcherChannel:
        """
        Connect and receive the descriptor. Blocks until the watcher answers.

        Raises:
            OSError: no watcher there, or it went away meanwhile.
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.connect(path)
            connection.send(pack({"slot": slot, "pid": os.getpid(), "rules": rules}))
            message, fds, _, _ = socket.recv_fds(connection, 4096, 1)
            if not message or not fds:
                raise ConnectionResetError(f"{path}: the watcher closed the connection")
            try:
                hello = unpack(message)
                epoch, mask, work = int(hello["epoch"]), int(hello["mask"]), hello["work"]
                if not isinstance(work, str) or not work.startswith("ipc://"):
                    raise ValueError(f"work = {work!r}")
            except (DecodeError, KeyError, TypeError, ValueError) as error:
                os.close(fds[0])
                raise ConnectionResetError(f"{path}: not a watcher's greeting: {error}") from None
            inotify = INotify()
            # The wrapper keeps its number and becomes the watcher's instance.
            os.dup2(fds[0], inotify.fileno(), inheritable=False)
            os.close(fds[0])
            return cls(connection=connection, inotify=inotify, epoch=epoch, mask=mask, work=work)
        except BaseException:
            connection.close()
            raise

    def add_watch(self, fd: int) -> int:
        """Watch the directory behind ``fd``; its watch descriptor, or −errno where the kernel refuses."""
        try:
            return int(self.inotify.add_watch(f"/proc/self/fd/{fd}", self.mask))
        except OSError as error:
            return -(error.errno or 1)
        except ValueError:
            # Closed meanwhile by another thread, for its watcher is gone: nobody waits for this watch.
            return -errno.EBADF

    def close(self) -> None:
        """Give both descriptors back."""
        self.inotify.close()
        self.connection.close()
