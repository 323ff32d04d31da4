"""
The zmq side: TreeRequest in, TreeReply and body frames out, on a ROUTER with CURVE.

Each request is answered by a task of its own, so that one peer that does not read holds up nobody else. An answer goes
out in parts of one body frame each; when the queue of the peer is full the task waits, and gives up on a peer that
takes nothing for too long or is gone.

What it does not do: decide who may connect, or may no longer ask (the ZAP handler and the fence of the process do).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import trio
import zmq

from actors.query.answer import Answer, Later
from fustor.runtime.mesh import MeshSocket, PeerGone
from protocols.codec import decode, encode
from protocols.errors import ProtocolError
from protocols.messages import TreeReply, TreeRequest

#: operation, view, parameters, If-None-Match → answer.
Ask = Callable[[str, str, Mapping[str, bytes], str], Answer | Later]


class Router:
    """
    Args:
        socket: the ROUTER; whoever made it closes it.
        ask: the answer to a request; called on the loop, so it must be quick (long bodies are streams).
        requests: under way at once; more wait in the socket.
        peer_seconds: a peer whose queue stays full for so long is given up.
        slice_bytes: most of one body frame.
        counters: ``zmq_requests``, ``zmq_malformed``, ``zmq_given_up``, ``zmq_failures`` are counted here.
        log: for answers that failed.
        admit: who sent a frame; raises ProtocolError for whoever may not ask any more.
    """

    def __init__(
        self,
        socket: MeshSocket,
        ask: Ask,
        counters: dict[str, int],
        log: logging.Logger,
        *,
        admit: Callable[[zmq.Frame], object],
        requests: int = 256,
        peer_seconds: float = 30.0,
        slice_bytes: int = 256 << 10,
    ) -> None:
        self._socket = socket
        self._ask = ask
        self._counters = counters
        self._log = log
        self._admit = admit
        self._room = trio.CapacityLimiter(requests)
        self._peer_seconds = peer_seconds
        self._slice_bytes = slice_bytes
        for name in ("requests", "malformed", "given_up", "failures"):
            counters.setdefault(f"zmq_{name}", 0)

    async def serve(self) -> None:
        """Answer until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                work = _Work()
                await self._room.acquire_on_behalf_of(work)
                frames = await self._socket.receive_frames()
                nursery.start_soon(self._attend, work, frames)

    async def _attend(self, work: _Work, frames: list[zmq.Frame]) -> None:
        """The guard of one request: whatever goes wrong ends it and nothing else."""
        try:
            await self._request(frames)
        except ProtocolError as error:
            self._counters["zmq_malformed"] += 1
            self._log.warning("a request was dropped: %s", error)
        except (PeerGone, trio.TooSlowError):
            self._counters["zmq_given_up"] += 1
        except Exception:
            self._counters["zmq_failures"] += 1
            self._log.exception("an answer failed; its last part is not sent, so that the client asks again")
        finally:
            self._room.release_on_behalf_of(work)

    async def _request(self, frames: list[zmq.Frame]) -> None:
        self._admit(frames[-1])
        # A REQ socket puts an empty frame before its request; the answer repeats what came before it.
        *envelope, data = [frame.bytes for frame in frames]
        request = decode(data, TreeRequest)
        self._counters["zmq_requests"] += 1
        params = {name: value.encode() for name, value in request.params.items()}
        params.setdefault("path", request.path)
        if "path_b64" in params:
            del params["path"]
        answer = self._ask(request.op, request.view, params, request.params.get("if_none_match", ""))
        if isinstance(answer, Later):
            answer = await answer.wait()
        sender = _Sender(self._socket, envelope, request.request, answer, self._peer_seconds)
        try:
            body = answer.body
            if isinstance(body, bytes):
                for at in range(0, len(body) - self._slice_bytes, self._slice_bytes):
                    await sender.send(body[at : at + self._slice_bytes])
                rest = len(body) % self._slice_bytes or min(len(body), self._slice_bytes)
                await sender.send(body[len(body) - rest :], last=True)
            else:
                await body.write(sender.send)
                await sender.send(b"", last=True)
        finally:
            answer.close()


class _Work:
    """Stands for one request in the limiter."""


class _Sender:
    """Sends the parts of one answer."""

    def __init__(self, socket: MeshSocket, envelope: list[bytes], request: str, answer: Answer, seconds: float) -> None:
        self._socket = socket
        self._envelope = envelope
        self._request = request
        self._answer = answer
        self._seconds = seconds
        self._part = 0

    async def send(self, data: bytes, *, last: bool = False) -> None:
        """
        Send the next part.

        Raises:
            PeerGone: the peer is not connected any more.
            trio.TooSlowError: it took nothing for too long.
        """
        headers: dict[str, str] = {}
        if not self._part:
            headers = {**self._answer.headers.fields, "Content-Type": self._answer.content_type}
            if self._answer.etag:
                headers["ETag"] = self._answer.etag
        reply = TreeReply(
            request=self._request, status=self._answer.status, part=self._part, last=last, headers=headers
        )
        with trio.fail_after(self._seconds):
            await self._socket.send([*self._envelope, encode(reply), data])
        self._part += 1
        await trio.lowlevel.checkpoint()
