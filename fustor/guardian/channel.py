"""
The guardian's end of the keeper channel: packets of JSON that never block the loop.

What can't be sent at once waits in a queue, and no request is read while something waits. So the queue is bounded
without a limit of its own: by one request's answer and one exit per running payload, for only requests spawn.
"""

from __future__ import annotations

import json
import socket
from collections import deque
from collections.abc import Sequence

#: Largest packet, either way. The kernel's limit is a little above 200 kB with its default buffer sizes.
MAX_PACKET = 65536


class Channel:
    """
    Args:
        sock: a connected SEQPACKET socket; owned from now on.
        waiting: packets that an earlier channel on it could not send.
    """

    def __init__(self, sock: socket.socket, waiting: Sequence[str] = ()) -> None:
        self._socket = sock
        sock.setblocking(False)
        self._waiting: deque[bytes] = deque(packet.encode() for packet in waiting)

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    @property
    def blocked(self) -> bool:
        """Something waits to be sent."""
        return bool(self._waiting)

    def waiting(self) -> list[str]:
        """What waits, for a channel in another program."""
        return [packet.decode() for packet in self._waiting]

    def send(self, message: dict[str, object]) -> None:
        """Send, or queue when the other side does not read."""
        self._waiting.append(json.dumps(message, separators=(",", ":")).encode())
        if len(self._waiting) == 1:
            self.flush()

    def flush(self) -> None:
        """Send what waits, as far as possible."""
        while self._waiting:
            try:
                self._socket.send(self._waiting[0])
            except BlockingIOError:
                return
            except ConnectionError:  # nobody will ever read it: the next receive tells
                self._waiting.clear()
                return
            self._waiting.popleft()

    def receive(self) -> bytes | None:
        """
        The next packet; empty at the end.

        Returns:
            None when there is none now. A packet above MAX_PACKET comes cut, hence as invalid JSON.
        """
        try:
            return self._socket.recv(MAX_PACKET)
        except BlockingIOError:
            return None
        except ConnectionError:
            return b""

    def close(self) -> None:
        """Close it."""
        self._socket.close()
