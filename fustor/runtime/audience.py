"""
Connections that only listen: those of an XPUB socket.

They say nothing after their subscription, so no message would show that their key was withdrawn
(:class:`fustor.runtime.zap.Fence`). Hence they are written down when they subscribe, and looked at again and again.

What this module does not do: receive subscriptions, or decide when to look.
"""

from __future__ import annotations

import logging

import attrs
import zmq

from fustor.runtime.zap import Connection, Fence, credentials_of

_log = logging.getLogger(__name__)


@attrs.define(eq=False)
class Audience:
    """
    Attributes:
        fence: says whose keys still hold.
    """

    fence: Fence
    _listeners: dict[Connection, tuple[str, str, str]] = attrs.Factory(dict)

    def __len__(self) -> int:
        return len(self._listeners)

    def joined(self, frame: zmq.Frame) -> None:
        """
        Take in the sender of a subscription.

        Raises:
            KeyWithdrawn: its key is no longer in the allow-list; its connection is ended.
            ProtocolError: the connection was not authenticated.
        """
        self.fence.user_of(frame)
        self._listeners[Connection.of(frame)] = credentials_of(frame)

    def look(self) -> None:
        """Forget those that have gone, and end those whose key was withdrawn."""
        for connection, (role, name, key) in list(self._listeners.items()):
            if self.fence.holds(role, name, key):
                if not connection.is_open():
                    del self._listeners[connection]
                continue
            del self._listeners[connection]
            if connection.end():
                self.fence.counts.fenced += 1
                _log.warning("a key was withdrawn, its connection is ended", extra={"role": role, "owner": name})
