"""
The bundles that Fusion has for its agents, in files of one folder: taken from people piece by piece, read by the query
workers.

A bundle is checked byte by byte before it is shown to anybody, and against no key: Fusion need not be trusted by those
who made it, nor trust them. Everything here blocks. What this module does not do: send them.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import attrs

from fustor.runtime.durable import sync_folder
from protocols.bounds import between
from protocols.errors import BundleError, MachineError, RequestError

if TYPE_CHECKING:
    from fustor.bundle.reading import Bundle

#: What a file is called that is whole, and one that is not.
SUFFIX, UNFINISHED = ".bundle", ".part"
_DIGEST = re.compile("[0-9a-f]{64}")


@attrs.frozen
class BundleStoreLimits:
    """
    ``[limits.bundles]``

    Attributes:
        kept: bundles; another one is refused above it.
        bytes: of one.
    """

    kept: int = attrs.field(default=32, validator=between(1, 10_000))
    bytes: int = attrs.field(default=512 << 20, validator=between(1, 1 << 40))


class BundleStore:
    """Args: folder: of the files; made when the first one comes. limits: bounds."""

    def __init__(self, folder: str, limits: BundleStoreLimits) -> None:
        self._folder = folder
        self._limits = limits

    def has(self, digest: str) -> bool:
        """Whether a bundle is there, whole."""
        return os.path.isfile(self.path(digest))

    def path(self, digest: str) -> str:
        """Where the file of a bundle is, or would be."""
        return self._path(digest, SUFFIX)

    def rows(self) -> list[dict[str, Any]]:
        """
        All of them, by digest.

        Raises:
            MachineError: the folder can't be read.
        """
        return [self._row(digest) for digest in self._digests()]

    def _digests(self) -> list[str]:
        try:
            names = sorted(os.listdir(self._folder))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise MachineError(f"{self._folder} can't be read: {error.strerror}") from error
        return [name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX)]

    def _row(self, digest: str) -> dict[str, Any]:
        path = self._path(digest, SUFFIX)
        try:
            with self._opened(path) as bundle:
                found = {"name": bundle.manifest.name, "version": bundle.manifest.version, "error": ""}
            size = os.path.getsize(path)
        except (BundleError, MachineError, OSError) as error:
            found, size = {"name": "", "version": "", "error": str(error)}, 0
        return {"digest": digest, "bytes": size, **found}

    def put(self, digest: str, offset: int, total: int, data: str) -> dict[str, Any]:
        """
        Take the piece ``data`` (base64) at ``offset`` of a bundle of ``total`` bytes; with the last one it is checked.

        Returns:
            ``next``: the offset that is wanted then; ``total`` when it is there.

        Raises:
            RequestError: a wrong argument, or it is no whole bundle of this digest.
            MachineError: it can't be written.
        """
        piece = self._checked(digest, total, data)
        if self.has(digest):
            return {"next": total}
        path = self._path(digest, UNFINISHED)
        try:
            os.makedirs(self._folder, 0o700, exist_ok=True)
            with open(path, "ab") as file:
                there = file.tell()
                if there + len(piece) > total:
                    file.truncate(0)
                    return {"next": 0}
                if offset != there:
                    return {"next": there}
                file.write(piece)
                if there + len(piece) < total:
                    return {"next": there + len(piece)}
                file.flush()
                os.fsync(file.fileno())
            self._finish(digest, path)
        except OSError as error:
            raise MachineError(f"{self._folder} can't be written: {error.strerror}") from error
        return {"next": total}

    def _checked(self, digest: str, total: int, data: str) -> bytes:
        if not _DIGEST.fullmatch(digest):
            raise RequestError("digest", digest[:80], "64 hexadecimal digits are accepted")
        if not 0 < total <= self._limits.bytes:
            raise RequestError("total", total, f"1 to {self._limits.bytes} bytes are accepted ([limits.bundles] bytes)")
        try:
            piece = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            raise RequestError("data", data[:16], "base64 is accepted") from None
        if not self.has(digest) and len(self._digests()) >= self._limits.kept:
            accepted = f"{self._limits.kept} bundles are kept ([limits.bundles] kept): fustor bundle remove DIGEST"
            raise RequestError("digest", digest[:16], accepted)
        return piece

    def _finish(self, digest: str, path: str) -> None:
        try:
            with self._opened(path) as bundle:
                bundle.check()
                if bundle.digest != digest:
                    raise BundleError(f"its digest is {bundle.digest}")
        except BundleError as error:
            os.unlink(path)
            raise RequestError("bundle", digest[:16], f"a whole bundle is accepted: {error}") from None
        os.rename(path, self._path(digest, SUFFIX))
        sync_folder(self._folder)

    def remove(self, digest: str) -> None:
        """
        Give a bundle up.

        Raises:
            RequestError: there is none of this digest.
            MachineError: it can't be removed.
        """
        if not _DIGEST.fullmatch(digest) or not self.has(digest):
            raise RequestError("digest", digest[:80], "the digest of a bundle that is here is accepted")
        try:
            os.unlink(self._path(digest, SUFFIX))
        except OSError as error:
            raise MachineError(f"{self._folder} can't be written: {error.strerror}") from error

    def _path(self, digest: str, suffix: str) -> str:
        return os.path.join(self._folder, digest + suffix)

    def _opened(self, path: str) -> AbstractContextManager[Bundle]:
        # Most days nobody pushes anything: until then the control actor does without signatures and archives.
        from fustor.bundle.manifest import BundleLimits
        from fustor.bundle.reading import opened

        return opened(path, BundleLimits(total_bytes=min(self._limits.bytes, 3 << 30)))
