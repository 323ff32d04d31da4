"""
Small files that are either the old or the new content after any crash, and JSON state in them.

Order of the calls: write a temporary file beside it, fsync, rename, fsync the folder (rename(2), fsync(2)).
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from typing import Any

from protocols.errors import MachineError


def write_durably(path: str, content: bytes, mode: int = 0o600) -> None:
    """
    Replace the file ``path`` by ``content``.

    Raises:
        MachineError: the folder is missing, read-only or full; the old content is still there.
    """
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
        sync_folder(os.path.dirname(path))
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise MachineError(f"{path} can't be written: {error.strerror}") from error


def create_durably(path: str, content: bytes, mode: int = 0o600) -> bool:
    """
    Write a file that is not there yet: whole, or not at all.

    Returns:
        False when there is one already, which is kept.

    Raises:
        MachineError: the folder is missing, read-only or full.
    """
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            os.link(temporary, path)  # unlike rename it never takes the place of what another wrote
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        sync_folder(os.path.dirname(path))
    except FileExistsError:
        return False
    except OSError as error:
        raise MachineError(f"{path} can't be written: {error.strerror}") from error
    return True


def move(path: str, to: str) -> None:
    """
    Give a file another place on the same file system, and replace what is there.

    Raises:
        MachineError: it can't be.
    """
    try:
        os.rename(path, to)
        sync_folder(os.path.dirname(to))
        sync_folder(os.path.dirname(path))
    except OSError as error:
        raise MachineError(f"{path} can't be moved to {to}: {error.strerror}") from error


def sync_folder(path: str) -> None:
    """
    fsync(2) of a folder, "" for the working directory: what was made, renamed or removed in it survives a power cut.

    Raises:
        OSError: it can't be opened or synced.
    """
    folder = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: str, value: Any) -> None:
    """As :func:`write_durably`, with ``value`` as JSON."""
    write_durably(path, json.dumps(value, indent=1, sort_keys=True).encode() + b"\n")


def read_json(path: str, largest: int = 1 << 20) -> Any:
    """
    The JSON value in ``path``, or None when there is no such file.

    Raises:
        ValueError: not JSON, not UTF-8, or more than ``largest`` bytes.
        MachineError: it can't be read.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(largest + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MachineError(f"{path} can't be read: {error.strerror}") from error
    if len(content) > largest:
        raise ValueError(f"{path}: more than {largest} bytes")
    return json.loads(content)
