"""
A client of the admin and query sockets: one question, one answer, blocking.

Commands ask one thing at a time and then end, so there is no trio here: a zmq poll with a timeout is all it
takes. Authentication is by CURVE: the operator's key pair in ``fusion/keys/admin.key``, Fusion's public key beside it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import attrs
import zmq

from fustor.admin.exits import NotRunningError
from fustor.admin.ports import split
from fustor.admin.processes import wait_guardian
from fustor.admin.state import State
from fustor.runtime.keys import load_public, load_secret
from fustor.runtime.sockets import ClientCurve, open_socket
from protocols.codec import decode, encode
from protocols.errors import MachineError, RequestError
from protocols.messages import AdminReply, AdminRequest, TreeReply, TreeRequest

#: Seconds that an answer, or the next part of one, may take.
TIMEOUT = 10.0
#: Seconds after which a question that changes nothing is asked again.
AGAIN_SECONDS = 2.0
#: Largest part of an answer that is accepted, bytes.
MAX_PART = 16 << 20


@attrs.frozen
class TreeAnswer:
    """
    An answer of a query worker.

    Attributes:
        status: HTTP status code.
        headers: freshness, by HTTP name.
        parts: the body; raises MachineError when the rest does not come.
    """

    status: int
    headers: Mapping[str, str]
    parts: Iterator[bytes]


def _data(op: str, reply: AdminReply) -> Any:
    """
    Raises:
        RequestError: it is a refusal.
    """
    if not reply.ok:
        raise RequestError("", op, reply.error)
    return reply.data


class Client:
    """
    Both sockets of one Fusion, opened when first needed. Used as a context manager.

    Args:
        state: whose Fusion; its configuration names the endpoints.
        timeout: seconds.

    Raises:
        NotRunningError: nothing runs there.
    """

    def __init__(self, state: State, timeout: float = TIMEOUT) -> None:
        held = wait_guardian(state.fusion)
        if held is None:
            raise NotRunningError(f"nothing runs in {state.folder}; start it: fustor up DIR")
        held.close()
        self._state = state
        self._timeout = timeout
        self._config = state.fusion_config()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close both sockets."""
        for socket in self._sockets.values():
            socket.close(0)
        self._sockets.clear()
        self._context.term()

    def admin(self, op: str, **args: Any) -> Any:
        """
        Ask Fusion's control actor.

        Raises:
            RequestError: it refused, with its reason.
            MachineError: it did not answer in time.
        """
        reply = self._ask(op, args, self._timeout)
        if reply is None:
            raise self._silent(str(self._config["admin"]))
        return _data(op, reply)

    def look(self, op: str, **args: Any) -> Any:
        """
        As :meth:`admin`, for an operation that changes nothing: it is asked again now and then, for whoever was asked
        may be replaced before he answers.
        """
        deadline = time.monotonic() + self._timeout
        while (left := deadline - time.monotonic()) > 0:
            reply = self._ask(op, args, min(AGAIN_SECONDS, left))
            if reply is not None:
                return _data(op, reply)
        raise self._silent(str(self._config["admin"]))

    def _ask(self, op: str, args: Mapping[str, Any], seconds: float) -> AdminReply | None:
        """The answer to one question; None when none came within ``seconds``."""
        endpoint, request = str(self._config["admin"]), secrets.token_hex(8)
        socket = self._open(endpoint)
        self._send(socket, endpoint, encode(AdminRequest(request=request, op=op, args=dict(args))))
        deadline = time.monotonic() + seconds
        while socket.poll(max(0, round((deadline - time.monotonic()) * 1000)), zmq.POLLIN):
            reply = decode(self._receive(socket, endpoint, 1)[0], AdminReply)
            if reply.request == request:  # not the late answer to an earlier question
                return reply
        return None

    def every(self, op: str, key: str, **args: Any) -> list[Any]:
        """What ``op`` tells in pages under ``key``, all of it; raises as :meth:`look`."""
        page = self.look(op, **args)
        found = list(page[key])
        while page["next"]:
            page = self.look(op, **args, after=page["next"])
            found += page[key]
        return found

    def tree(self, op: str, path: bytes, view: str = "", params: Mapping[str, str] | None = None) -> TreeAnswer:
        """
        Ask a query worker; the next one when the first does not answer.

        Args:
            op: ``tree``, ``stats`` or ``search``.
            path: absolute.
            view: empty for the default one.
            params: by their HTTP names.

        Raises:
            MachineError: none answered in time.
        """
        host, port = split(str(self._config["query"]), "fusion.query")
        workers = int(self._config.get("query_workers", 2))
        for worker in range(workers):
            endpoint = f"tcp://{f'[{host}]' if ':' in host else host}:{port + worker}"
            request = secrets.token_hex(8)
            socket = self._open(endpoint)
            wanted = TreeRequest(request=request, op=op, view=view, path=path, params=dict(params or {}))
            try:
                self._send(socket, endpoint, encode(wanted))
                head, body = self._part(socket, endpoint, request)
            except MachineError:
                if worker == workers - 1:
                    raise
                continue
            return TreeAnswer(head.status, head.headers, self._parts(socket, endpoint, head, body))
        raise MachineError("fusion.query_workers is 0: there is nobody to ask")

    def _parts(self, socket: zmq.Socket[bytes], endpoint: str, head: TreeReply, body: bytes) -> Iterator[bytes]:
        expected = 0
        while True:
            if head.part != expected:
                raise MachineError(f"part {expected} of the answer was lost on the way; ask again")
            yield body
            if head.last:
                return
            expected += 1
            head, body = self._part(socket, endpoint, head.request)

    def _part(self, socket: zmq.Socket[bytes], endpoint: str, request: str) -> tuple[TreeReply, bytes]:
        while True:
            frames = self._receive(socket, endpoint, 2)
            head = decode(frames[0], TreeReply)
            if head.request == request:
                return head, frames[1]

    def _open(self, endpoint: str) -> zmq.Socket[bytes]:
        socket = self._sockets.get(endpoint)
        if socket is None:
            keys = self._state.fusion.keys
            own = load_secret(str(keys / "admin.key"))
            server = load_public(str(keys / "fusion.pub"))
            curve = ClientCurve(server=server.public, public=own.public, secret=own.secret)
            socket = open_socket(self._context, zmq.DEALER, connect=endpoint, max_size=MAX_PART, curve=curve)
            self._sockets[endpoint] = socket
        return socket

    def _send(self, socket: zmq.Socket[bytes], endpoint: str, frame: bytes) -> None:
        if not socket.poll(round(self._timeout * 1000), zmq.POLLOUT):
            raise self._silent(endpoint)
        socket.send(frame, zmq.NOBLOCK)

    def _receive(self, socket: zmq.Socket[bytes], endpoint: str, frames: int) -> list[bytes]:
        if not socket.poll(round(self._timeout * 1000), zmq.POLLIN):
            raise self._silent(endpoint)
        message = socket.recv_multipart(zmq.NOBLOCK)
        if len(message) < frames:
            raise MachineError(f"{endpoint} answered with {len(message)} frames, not {frames}: is it this program?")
        return message

    def _silent(self, endpoint: str) -> MachineError:
        return MachineError(
            f"Fusion runs, but {endpoint} did not answer within {self._timeout:g} s; see the logs in "
            f"{self._state.fusion.log}, or all stacks: fustor stacks"
        )
