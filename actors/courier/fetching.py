"""
A bundle over the network: into a file that holds what has come so far, so that a transfer goes on where one ended.

What this module does not do: believe any of it (:mod:`fustor.bundle` does that).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable

import trio
import zmq

from fustor.runtime.mesh import MeshSocket
from fustor.runtime.sockets import ClientCurve, open_socket
from protocols.codec import decode, encode
from protocols.errors import BundleError, MachineError, ProtocolError
from protocols.messages import TreeReply, TreeRequest

#: Answers under way at once: what Fusion may send before it hears that we have taken it.
_CREDIT = 4


async def fetch(
    endpoint: str,
    curve: ClientCurve,
    digest: str,
    path: str,
    *,
    most: int,
    silence_seconds: float,
    progress: Callable[[int, int], None],
) -> None:
    """
    The rest of the bundle ``digest`` behind what is in the file ``path``, durably.

    Args:
        endpoint: a query worker of Fusion.
        most: bytes of a bundle.
        silence_seconds: after which nobody is there.
        progress: told of the bytes so far and in all.

    Raises:
        MachineError: nobody answers, or has it; or the disk does not take it. What has come is kept.
        BundleError: it is larger than it may be, or another one than what has come so far.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        raw = open_socket(context, zmq.DEALER, connect=endpoint, hwm=_CREDIT, curve=curve)
        mesh = MeshSocket(raw)
        try:
            with open(path, "ab") as file:  # noqa: ASYNC230 - once, on a local disk
                await _take(mesh, digest, file.fileno(), most, silence_seconds, progress)
        except OSError as error:
            raise MachineError(f"{path} can't be written: {error.strerror}") from error
        finally:
            mesh.close()
    finally:
        context.destroy(linger=0)


async def _take(
    mesh: MeshSocket, digest: str, fd: int, most: int, silence_seconds: float, progress: Callable[[int, int], None]
) -> None:
    request, at, size = secrets.token_hex(8), os.fstat(fd).st_size, -1
    asked = TreeRequest(request=request, op="bundle", params={"digest": digest, "offset": str(at)})
    with trio.move_on_after(silence_seconds) as silence:
        await mesh.send([encode(asked)])
        while True:
            head, data = await mesh.receive()
            silence.deadline = trio.current_time() + silence_seconds
            try:
                reply = decode(head, TreeReply)
            except ProtocolError:
                continue
            if reply.request != request:
                continue
            if reply.status != 200:
                raise MachineError(
                    f"Fusion has no bundle {digest[:16]}… to give: {data[:300].decode(errors='replace')}"
                )
            if not reply.part:
                size = _size(reply)
                if not at <= size <= most:
                    raise BundleError(f"it has {size} bytes: {at} to {most} are accepted")
            await trio.to_thread.run_sync(_append, fd, data)
            at += len(data)
            progress(at, size)
            if reply.last:
                break
    if silence.cancelled_caught:
        raise MachineError(f"Fusion was silent for {silence_seconds:g} s")
    if at != size:
        raise BundleError(f"{at} bytes have come, not {size}")
    await trio.to_thread.run_sync(os.fsync, fd)


def _size(reply: TreeReply) -> int:
    text = reply.headers.get("X-Fustor-Size", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else -1


def _append(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
