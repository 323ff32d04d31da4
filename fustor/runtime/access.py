"""
Keys of the programs that ask over HTTP: what each may see, and who has which.

A key is 256 random bits as text. Only its SHA-256 is kept: a secret of that size can't be found from it, so no slow
hash is needed (NIST SP 800-63B, section 5.1.2.2). There is a TOML file for each key, ``NAME.toml``, with ``name``,
``sha256`` and, where it does not open everything, ``views`` and ``paths``. The folder is read again when something in
it has changed.

What this module does not do: know HTTP, or decide what is asked for.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import time

import attrs

from fustor.runtime.config import is_exhausted, read_toml, shorten, structure
from fustor.runtime.durable import write_durably
from fustor.runtime.source import NAME
from protocols.errors import ConfigError, FustorError

_log = logging.getLogger(__name__)

#: What the file of a key ends with, and that of one which was withdrawn.
SUFFIX, WITHDRAWN = ".toml", ".withdrawn"
#: Seconds between two looks at the folder.
LOOK_SECONDS = 0.25
#: Longer ones are no keys.
_LONGEST = 256
_DIGEST = re.compile(r"[0-9a-f]{64}")

#: Below the state folder of Fusion: API keys, and the key with which programs of its own host ask.
API_KEYS, OWN_KEY = os.path.join("keys", "api"), os.path.join("keys", "http.key")


#: Components of a path.
Names = tuple[bytes, ...]


def api_folder(state: str) -> str:
    """Folder of the API keys."""
    return os.path.join(state, API_KEYS)


def own_key(state: str) -> str:
    """The API key with which programs of this host ask; empty when there is none, or it is not for us."""
    try:
        with open(os.path.join(state, OWN_KEY), "rb") as file:
            return file.read(_LONGEST).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def make_own_key(state: str) -> None:
    """
    Make it if there is none, mode 0600.

    Raises:
        MachineError: it can't be written.
    """
    if not own_key(state):
        write_durably(os.path.join(state, OWN_KEY), f"{secrets.token_urlsafe(32)}\n".encode())


def own_digest(state: str) -> str:
    """What query workers are told of it; empty when there is none."""
    key = own_key(state)
    return digest(key.encode()) if key else ""


def digest(key: bytes) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key).hexdigest()


def _is_digest(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not _DIGEST.fullmatch(value):
        raise ConfigError(attribute.name, shorten(value), "64 hexadecimal digits are accepted: SHA-256 of the key")


def _are_paths(instance: object, attribute: attrs.Attribute[tuple[str, ...]], value: tuple[str, ...]) -> None:
    for index, path in enumerate(value):
        if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
            field, accepted = f"{attribute.name}[{index}]", "an absolute path without .. is accepted"
            raise ConfigError(field, shorten(path), accepted)


@attrs.frozen
class ApiKey:
    """
    A key, as its file has it.

    Attributes:
        name: of its owner, and of the file.
        sha256: of the key, in hexadecimal digits.
        views: those that it opens; none: all.
        paths: those that it opens, with all below them; none: everything.
    """

    name: str = attrs.field(validator=NAME)
    sha256: str = attrs.field(validator=_is_digest)
    views: tuple[str, ...] = ()
    paths: tuple[str, ...] = attrs.field(default=(), validator=_are_paths)


@attrs.frozen
class Grant:
    """
    What somebody may see.

    Attributes:
        views: names; None: all.
        paths: components of each path that may be seen, with all below it; None: everything.
    """

    views: frozenset[str] | None = None
    paths: tuple[Names, ...] | None = None

    @classmethod
    def of(cls, key: ApiKey) -> Grant:
        """What a key opens."""
        paths = tuple([tuple(filter(None, os.fsencode(path).split(b"/"))) for path in key.paths])
        return cls(frozenset(key.views) if key.views else None, paths if () not in paths and paths else None)

    def covers(self, view: str, names: Names) -> bool:
        """Whether a path of a view may be seen, with all below it."""
        if self.views is not None and view not in self.views:
            return False
        return self.paths is None or any(names[: len(path)] == path for path in self.paths)


EVERYTHING = Grant()


def make_key(name: str, views: tuple[str, ...] = (), paths: tuple[str, ...] = ()) -> tuple[str, ApiKey]:
    """
    A new key: the secret itself, which is kept nowhere, and what is kept.

    Raises:
        ConfigError: a name or a path is not accepted.
    """
    secret = secrets.token_urlsafe(32)
    return secret, ApiKey(name, digest(secret.encode()), views, paths)


def write_key(folder: str, key: ApiKey) -> None:
    """
    Keep a key; it takes the place of one with the same name.

    Raises:
        MachineError: it can't be written.
    """
    lines = [f"name = {json.dumps(key.name)}", f"sha256 = {json.dumps(key.sha256)}"]
    for field, values in (("views", key.views), ("paths", key.paths)):
        if values:
            lines.append(f"{field} = {json.dumps(values, ensure_ascii=False)}")
    write_durably(os.path.join(folder, key.name + SUFFIX), "\n".join([*lines, ""]).encode())


def load_key(path: str) -> ApiKey:
    """
    The key in a file.

    Raises:
        ConfigError, ConfigFaults: it is no such file; every fault names it.
    """
    return structure(ApiKey, read_toml(path), file=path)


class ApiKeys:
    """
    Who may ask.

    A file that is no key is logged when it changes, and opens nothing. When the folder can't be read who was known
    stays so: the disk of a program must not shut its clients out.

    Args:
        folder: of the files; need not exist yet.
        own: digest of a key that opens everything, of the programs of this host; empty: none. It does not count as one.
        is_open: everybody may see everything as long as there has been no key.
    """

    def __init__(self, folder: str, *, own: str = "", is_open: bool = False) -> None:
        self.folder = folder
        self._own = own
        self._is_open = is_open
        self._look_at = 0.0
        self._unreadable = False
        self._seen: dict[str, tuple[int, int, int]] = {}
        self._grants: dict[str, Grant] = {}

    def grant(self, key: bytes) -> Grant | None:
        """What the owner of ``key`` (empty: nobody) may see; None: nothing, for there are keys, and this is none."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._look()
        if not self._seen and self._is_open:
            return EVERYTHING
        if not key or len(key) > _LONGEST:
            return None
        # Whoever asks chooses a key, not its digest: how long this takes tells nothing of the digests that are kept.
        found = digest(key)
        grant = self._grants.get(found)
        if grant is None and self._own and hmac.compare_digest(self._own, found):
            return EVERYTHING
        return grant

    def _look(self) -> None:
        try:
            seen = self._signatures()
        except OSError as error:
            if not self._unreadable:
                _log.error("the keys can't be read; who was let in still is", extra={"error": error.strerror})
            self._unreadable = True
            return
        self._unreadable = False
        if seen == self._seen:
            return
        grants: dict[str, Grant] = {}
        for name in sorted(seen):
            if name.endswith(WITHDRAWN):
                continue  # it is here so that nothing is open to everybody when it was the only one
            try:
                key = load_key(os.path.join(self.folder, name))
            except FustorError as error:
                if is_exhausted(error):
                    return  # that is no fault of the file: it is looked at again
                _log.error("not an API key: %s", error)
                continue
            grants[key.sha256] = Grant.of(key)
        self._seen, self._grants = seen, grants

    def _signatures(self) -> dict[str, tuple[int, int, int]]:
        found = {}
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    if entry.name.endswith((SUFFIX, WITHDRAWN)):
                        info = entry.stat()
                        found[entry.name] = (info.st_ino, info.st_size, info.st_mtime_ns)
        except FileNotFoundError:
            return {}
        return found
