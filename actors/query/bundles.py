"""
Bundles for agents: the file of a digest from an offset on, over the zmq socket that agents may ask.

What is sent was signed by somebody whom agents trust and Fusion need not: here it is only read. What this module does
not do: take bundles (Fusion's control actor does, from people), or verify them (agents do).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import trio

from actors.query.answer import Answer, HeaderBlock, Send
from fustor.treestore.render import json_object

#: The operation of a request.
OPERATION = "bundle"
#: What a file is called.
SUFFIX = ".bundle"
_DIGEST = re.compile(rb"[0-9a-f]{64}")
_NUMBER = re.compile(rb"[0-9]{1,15}")
#: Bytes sent at once.
_PIECE = 256 << 10


class Bundles:
    """
    Args:
        folder: where they are; empty: there are none.
        bytes_per_second: of one answer.
    """

    def __init__(self, folder: str, bytes_per_second: float) -> None:
        self._folder = folder
        self._rate = bytes_per_second

    def ask(self, params: Mapping[str, bytes]) -> Answer:
        """
        The bundle ``digest`` from ``offset`` on; header ``X-Fustor-Size`` has its whole size.

        404: there is none, or no such offset in it.
        """
        digest, offset = params.get("digest", b""), params.get("offset", b"0")
        if not _DIGEST.fullmatch(digest) or not _NUMBER.fullmatch(offset) or not self._folder:
            return _none("a digest of 64 hexadecimal digits and an offset are accepted")
        path = os.path.join(self._folder, digest.decode() + SUFFIX)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            return _none(f"Fusion has no such bundle: {error.strerror}")
        size = os.fstat(fd).st_size
        return Answer(
            200,
            _File(fd, int(offset), self._rate),
            HeaderBlock.of({"X-Fustor-Size": str(size)}),
            content_type="application/zip",
        )


def _none(why: str) -> Answer:
    return Answer(404, json_object({"error": why, "field": "digest", "value": None, "accepted": "a bundle of Fusion"}))


class _File:
    """A :class:`~actors.query.answer.Stream`."""

    def __init__(self, fd: int, offset: int, rate: float) -> None:
        self._fd = fd
        self._at = offset
        self._rate = rate

    async def write(self, send: Send) -> None:
        """Piece by piece, no faster than the rate."""
        due = trio.current_time()
        while data := os.pread(self._fd, _PIECE, self._at):
            self._at += len(data)
            await send(data)
            due = max(due + len(data) / self._rate, trio.current_time())
            await trio.sleep_until(due)

    def close(self) -> None:
        """Close the file. Harmless when done twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
