"""
A bundle file that is open: first who answers for it, then whether each file is what the manifest says.

What this module does not do: decide who is trusted, or write anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from typing import BinaryIO

import attrs

from fustor.bundle import manifest, signature
from fustor.bundle.archive import Archive
from fustor.bundle.manifest import MANIFEST, SIGNATURES, BundleLimits, Manifest
from fustor.bundle.signature import Signature
from protocols.errors import BundleError, MachineError

#: Bytes of ``signatures.json`` are bounded again where it is decoded.
_SIGNATURES_BYTES = 1 << 20


@attrs.frozen(eq=False)
class Bundle:
    """
    A bundle whose members are exactly those that its manifest names. Their contents were not looked at yet.

    Attributes:
        manifest: what it says of itself.
        digest: of the manifest; what the bundle is known by.
        signatures: that it brings, none of them judged.
    """

    manifest: Manifest
    digest: str
    signatures: tuple[Signature, ...]
    _archive: Archive

    @property
    def manifest_text(self) -> bytes:
        """``manifest.json``."""
        return self.manifest.encode()

    @property
    def signatures_text(self) -> bytes:
        """``signatures.json``."""
        return signature.encode(self.signatures)

    def blocks(self, path: str) -> Iterator[bytes]:
        """
        The content of a file, in blocks; when all were taken it is known to be what the manifest says.

        Raises:
            BundleError: it is not.
            MachineError: it can't be read.
        """
        sha256 = hashlib.sha256()
        for block in self._archive.blocks(path):
            sha256.update(block)
            yield block
        if sha256.hexdigest() != self.manifest.files[path].sha256:
            raise BundleError(f"{path}: it is not the file that the manifest names: its digest is {sha256.hexdigest()}")

    def check(self) -> None:
        """
        Read everything.

        Raises:
            BundleError: a file is not what the manifest says.
            MachineError: it can't be read.
        """
        for path in self.manifest.files:
            for _ in self.blocks(path):
                pass


#: Is asked with digest and signatures before anything of the manifest is interpreted; raises BundleError to refuse.
Judge = Callable[[str, tuple[Signature, ...]], object]


def read(file: BinaryIO, limits: BundleLimits, judge: Judge | None = None) -> Bundle:
    """
    The bundle in a file that is open; it stays the caller's, and open for as long as the bundle is used.

    Raises:
        BundleError: it is none within the limits, or ``judge`` refuses it.
        MachineError: it can't be read.
    """
    archive = Archive(file, limits.files + 2)
    text = archive.read(MANIFEST, limits.manifest_bytes)
    digest = manifest.digest_of(text)
    signatures = signature.decode(archive.read(SIGNATURES, _SIGNATURES_BYTES))
    if judge is not None:
        judge(digest, signatures)
    found = manifest.decode(text, limits)
    expected = [MANIFEST, SIGNATURES, *sorted(found.files)]
    if list(archive.members) != expected:
        for name in archive.members:
            if name not in (MANIFEST, SIGNATURES) and name not in found.files:
                raise BundleError(f"not a bundle: {name!r} is in it and not in its manifest")
        for name in expected:
            if name not in archive.members:
                raise BundleError(f"not a bundle: {name!r} is in its manifest and not in it")
        raise BundleError("not a bundle: its members are not in the order of their names")
    for name, file_ in found.files.items():
        if archive.members[name].size != file_.size:
            raise BundleError(f"{name}: {archive.members[name].size} bytes, the manifest says {file_.size}")
    return Bundle(found, digest, signatures, archive)


@contextlib.contextmanager
def opened(path: str, limits: BundleLimits | None = None, judge: Judge | None = None) -> Iterator[Bundle]:
    """
    The bundle in the file ``path``, which is closed with the block.

    Raises:
        BundleError: as of :func:`read`, or it is found to be damaged within the block; names the file.
        MachineError: it can't be read.
    """
    try:
        # Not to be opened: a pipe, which would be waited for.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BundleError(f"{path}: not a bundle: it is no regular file")
        file = open(path, "rb")  # noqa: SIM115 - errors within the block are not for this clause
    except OSError as error:
        raise MachineError(f"{path} can't be read: {error.strerror}") from error
    with file:
        try:
            yield read(file, limits or BundleLimits(), judge)
        except BundleError as error:
            raise BundleError(f"{path}: {error}") from error
