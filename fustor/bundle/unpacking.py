"""
A bundle becomes a folder ``<folder>/<digest>/``, put on the path of the processes that shall run it.

The folder is there whole or not at all, whenever this is killed or the power fails: everything is written to a folder
beside it and synced, then one rename makes it visible (rename(2), fsync(2)). What a killed one has left is removed by
the next. Files are read-only, their bytecode is among them and trusted as it is, so nothing is ever written there.

What this module does not do: decide which version runs, or remove old ones.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping

import attrs

from fustor.bundle import manifest, signature
from fustor.bundle.manifest import MANIFEST, SIGNATURES, BundleLimits, Manifest
from fustor.bundle.reading import Bundle, opened
from fustor.bundle.signature import Signature
from fustor.runtime.durable import sync_folder
from protocols.errors import BundleError, MachineError

#: Begins the names of folders that are not whole yet, or not needed any more.
UNFINISHED = ".unfinished-"

#: What opening says of something that is not there, no directory, a link, a directory, a pipe (open(2)).
_ANOTHER_KIND = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO})

_READ_ONLY = 0o444
_FOLDER = 0o755


@attrs.frozen(kw_only=True)
class Staged:
    """
    A bundle that can be run.

    Attributes:
        folder: where it is; for ``PYTHONPATH``.
        digest: of the bundle.
        manifest: what it says of itself.
        signers: the signatures that were believed.
    """

    folder: str
    digest: str
    manifest: Manifest
    signers: tuple[Signature, ...]


def stage(path: str, folder: str, trusted: Mapping[str, str], now: float, limits: BundleLimits | None = None) -> Staged:
    """
    Verify the bundle in the file ``path`` and unpack it below ``folder``. Blocks.

    One that is there already, and whole, is left alone; one that is damaged is replaced.

    Args:
        path: the bundle.
        folder: made when it is missing.
        trusted: names by public key, see :func:`fustor.bundle.signature.signers`.
        now: seconds since 1970.
        limits: see :class:`~fustor.bundle.manifest.BundleLimits`.

    Raises:
        BundleError: it is damaged, no signature is believed, or it can't run here. Nothing was unpacked.
        MachineError: it can't be read or written, or another process unpacks into the same folder right now.
    """
    signers: list[Signature] = []

    def judge(digest: str, signatures: tuple[Signature, ...]) -> None:
        signers.extend(signature.signers(digest, signatures, trusted, now))

    with opened(path, limits, judge) as bundle:
        reasons = manifest.unmet_here(bundle.manifest)
        if reasons:
            raise BundleError(f"it can't run here: {'; '.join(reasons)}")
        target = unpack(bundle, folder)
    return Staged(folder=target, digest=bundle.digest, manifest=bundle.manifest, signers=tuple(signers))


def unpack(bundle: Bundle, folder: str) -> str:
    """
    As :func:`stage`, for a bundle whose signatures were judged; the folder of the bundle.

    Raises:
        BundleError: a file is not what the manifest says. Nothing was unpacked.
        MachineError: as there.
    """
    target, fresh = os.path.join(folder, bundle.digest), os.path.join(folder, f"{UNFINISHED}{bundle.digest}")
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        with _alone_in(folder):
            for entry in os.listdir(folder):
                if entry.startswith(UNFINISHED):
                    _remove(os.path.join(folder, entry))
            if os.path.lexists(target):
                with contextlib.suppress(BundleError):
                    check_unpacked(target)
                    return target
                os.rename(target, f"{fresh}.damaged")
            try:
                _write(bundle, fresh)
                os.rename(fresh, target)
                sync_folder(folder)
            finally:
                _remove(fresh)
                _remove(f"{fresh}.damaged")
    except OSError as error:
        raise MachineError(f"{folder}: the bundle can't be unpacked: {error.strerror}") from error
    return target


def check_unpacked(target: str) -> Manifest:
    """
    That an unpacked bundle is still what it was, and nothing else is beside it.

    Args:
        target: its folder, whose name is the digest.

    Returns:
        Its manifest.

    Raises:
        BundleError: it is not; names what differs.
        MachineError: it can't be read.
    """
    try:
        text = _read(os.path.join(target, MANIFEST))
        if manifest.digest_of(text) != os.path.basename(target):
            raise BundleError(f"{target}: its {MANIFEST} is not the one of this digest")
        # The digest vouches for it: it was within the limits when it was unpacked.
        found = manifest.decode(text, BundleLimits(manifest_bytes=max(1, len(text))))
        there = set(_files_in(target))
        for path, file in found.files.items():
            if path not in there:
                raise BundleError(f"{target}: {path} is missing")
            if hashlib.sha256(_read(os.path.join(target, path))).hexdigest() != file.sha256:
                raise BundleError(f"{target}: {path} is not the file that it was")
        more = there - set(found.files) - {MANIFEST, SIGNATURES}
        if more:
            raise BundleError(f"{target}: {min(more)} was not in the bundle")
    except OSError as error:
        if error.errno in _ANOTHER_KIND:
            raise BundleError(f"{target}: {error.filename or 'a file'}: {error.strerror}") from None
        raise MachineError(f"{target} can't be read: {error.strerror}") from error
    return found


@contextlib.contextmanager
def _alone_in(folder: str) -> Iterator[None]:
    """One process at a time; the kernel gives the lock back when that process is killed (flock(2))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MachineError(f"{folder}: another process unpacks a bundle there; try again later") from None
        yield
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    """A folder with all that is in it, or a file; nothing when there is none."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError:  # also of a link; anything else fails once more
        os.unlink(path)


def _write(bundle: Bundle, fresh: str) -> None:
    """Everything of the bundle in a new folder, synced."""
    files = {MANIFEST: [bundle.manifest_text], SIGNATURES: [bundle.signatures_text]}
    folders = {os.path.join(fresh, folder) for folder in _folders_of(bundle.manifest.files)}
    os.mkdir(fresh, _FOLDER)
    for folder in sorted(folders):
        os.mkdir(folder, _FOLDER)
    for path, blocks in files.items():
        _write_file(os.path.join(fresh, path), blocks)
    for path in bundle.manifest.files:
        _write_file(os.path.join(fresh, path), bundle.blocks(path))
    # Written first and synced then: the file system does it in a few large writes.
    for path in (*files, *bundle.manifest.files):
        descriptor = os.open(os.path.join(fresh, path), os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    for folder in (*folders, fresh):
        sync_folder(folder)


def _write_file(path: str, blocks: Iterable[bytes]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _READ_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        for block in blocks:
            file.write(block)


def _folders_of(paths: Iterable[str]) -> set[str]:
    """All folders on the way to the paths."""
    folders: set[str] = set()
    for path in paths:
        while (path := os.path.dirname(path)) and path not in folders:
            folders.add(path)
    return folders


def _files_in(folder: str) -> Iterator[str]:
    """The paths of everything below that is no directory."""

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=refuse):
        # A link to a directory is none of ours.
        names += [name for name in folders if os.path.islink(os.path.join(place, name))]
        yield from (os.path.relpath(os.path.join(place, name), folder) for name in names)


def _read(path: str) -> bytes:
    """A regular file; a link or a pipe is not followed or waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()
