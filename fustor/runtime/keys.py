"""
CURVE key pairs in files, and the list of those who may connect.

A file is TOML with ``name``, ``role``, ``public`` (Z85) and, only in the owner's file of mode 0600, ``secret``. The
allow-list is a folder of public files, ``*.pub``; it is read again when it has changed.

What this module does not do: sign, derive or revoke on its own; who is let in is decided by :mod:`fustor.runtime.zap`.
"""

from __future__ import annotations

import logging
import os
import re
import stat

import attrs
import zmq
from zmq.utils import z85

from fustor.runtime.config import Shown, is_exhausted, read_toml, structure
from fustor.runtime.durable import create_durably, write_durably
from protocols.errors import ConfigError, FustorError

_log = logging.getLogger(__name__)

#: Who a key can belong to.
ROLES = frozenset({"fusion", "agent", "deployer", "operator", "observer"})

#: Characters of a key in Z85: 32 bytes.
KEY_CHARACTERS = 40

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

_Signature = tuple[int, int, int, int]


def _check_role(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if value not in ROLES:
        raise ValueError(f"one of {', '.join(sorted(ROLES))} is accepted")


def is_key(text: str) -> bool:
    """Whether ``text`` is a 32-byte key in Z85."""
    if len(text) != KEY_CHARACTERS or not text.isascii() or any(c not in _Z85 for c in text):
        return False
    # Five characters can say more than four bytes hold.
    return all(_group(text[i : i + 5]) < 1 << 32 for i in range(0, KEY_CHARACTERS, 5))


_Z85 = z85.Z85CHARS.decode()


def _group(text: str) -> int:
    value = 0
    for character in text:
        value = value * 85 + _Z85.index(character)
    return value


def _check_public(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not is_key(value):
        raise ValueError(f"a key of {KEY_CHARACTERS} Z85 characters is accepted")


def _check_secret(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if value and not is_key(value):
        raise ConfigError(attribute.name, "(hidden)", f"a key of {KEY_CHARACTERS} Z85 characters is accepted")


def check_name(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    """Validator: the name of a key's owner."""
    if _NAME.fullmatch(value) is None:
        raise ValueError("1 to 63 of letters, digits, '.', '-' and '_' are accepted, beginning with a letter or digit")


@attrs.frozen(kw_only=True)
class KeyPair:
    """
    Attributes:
        name: of the owner: an agent's id, a person.
        role: ``fusion``, ``agent``, ``deployer``, ``operator`` or ``observer``.
        public: Z85.
        secret: Z85; empty when only the public half is known. Never printed.
    """

    name: str = attrs.field(validator=check_name)
    role: str = attrs.field(validator=_check_role)
    public: str = attrs.field(validator=_check_public)
    secret: str = attrs.field(default="", repr=False, validator=_check_secret)


def key_text(name: str, role: str, public: str, secret: str = "") -> bytes:
    """A key file; the line of the secret is left out when it is empty."""
    # Names, roles and keys hold no quote, backslash or control character; single quotes make TOML take them literally.
    lines = [f"name = '{name}'", f"role = '{role}'", f"public = '{public}'"]
    if secret:
        lines.append(f"secret = '{secret}'")
    return ("\n".join(lines) + "\n").encode()


def load_public(path: str) -> KeyPair:
    """
    The public half in a file (a ``secret`` that stands there is dropped).

    Raises:
        ConfigError, ConfigFaults: not a key file; names file and field.
    """
    return attrs.evolve(structure(KeyPair, read_toml(path), file=path), secret="")


def write_public(path: str, pair: KeyPair) -> None:
    """
    Write the public half, atomically, mode 0644; takes the place of an older file.

    Raises:
        MachineError: the file can't be written.
    """
    write_durably(path, key_text(pair.name, pair.role, pair.public), 0o644)


def write_secret(path: str, pair: KeyPair) -> bool:
    """
    Write the whole pair, atomically, mode 0600; False when there is such a file already, which is kept.

    Raises:
        MachineError: the file can't be written.
    """
    return create_durably(path, key_text(pair.name, pair.role, pair.public, pair.secret), 0o600)


def check_private(path: str) -> None:
    """
    That a file with a secret is for its owner alone.

    Raises:
        ConfigError: it is not, or not there.
    """
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError as error:
        raise ConfigError("(file)", Shown(path), f"it can't be read: {error.strerror}") from None
    if mode & 0o077:
        raise ConfigError("(mode)", f"{mode:04o}", f"a secret key is for its owner alone: chmod 600 {path}", path)


def load_secret(path: str) -> KeyPair:
    """
    The whole pair in a private file.

    Raises:
        ConfigError, ConfigFaults: not a key file, no secret in it, or others than its owner may use it.
    """
    check_private(path)
    pair = structure(KeyPair, read_toml(path), file=path)
    if not pair.secret:
        raise ConfigError("secret", "", "the secret key is required here; this is a public file", path)
    if zmq.curve_public(pair.secret.encode()).decode() != pair.public:
        raise ConfigError("public", pair.public, "it does not belong to the secret key beside it", path)
    return pair


def load_or_create(path: str, name: str, role: str) -> KeyPair:
    """
    The key pair in the private file ``path``; made and written (0600, atomically) when there is none.

    Raises:
        ConfigError, ConfigFaults: the file can't be used, or is somebody else's.
        MachineError: it can't be written.
    """
    if not os.path.lexists(path):
        public, secret = zmq.curve_keypair()
        pair = KeyPair(name=name, role=role, public=public.decode(), secret=secret.decode())
        if write_secret(path, pair):
            return pair
    pair = load_secret(path)
    for field, found, wanted in (("name", pair.name, name), ("role", pair.role, role)):
        if found != wanted:
            raise ConfigError(
                field, found, f"{wanted!r} is configured; change that, or remove the file for a new key", path
            )
    return pair


def _signature(path: str) -> _Signature | None:
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns


class AuthorizedKeys:
    """
    Who may connect: the public files ``*.pub`` of a folder.

    A key that is found costs one ``stat`` of its file; one that is not makes the folder be read again. So additions,
    changes and removals hold from the next connection on. A file that is no key is logged, once per change, and passed
    over. While this process can open nothing more removals hold all the same, and additions do not.

    Args:
        folder: need not exist yet.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        #: Public key → (path, pair).
        self._known: dict[str, tuple[str, KeyPair]] = {}
        #: Path → signature and pair (None: no key) when it was read.
        self._files: dict[str, tuple[_Signature, KeyPair | None]] = {}
        self._unreadable = False

    def lookup(self, public: str) -> tuple[str, str] | None:
        """(name, role) of the owner of a public key (Z85), or None."""
        known = self._known.get(public)
        if known is None or not self._is_as_read(known[0]):
            self._read()
            known = self._known.get(public)
            if known is not None and not self._is_as_read(known[0]):
                return None  # it could not be read again, or has changed once more
        return None if known is None else (known[1].name, known[1].role)

    def has_role(self, role: str) -> bool:
        """Whether somebody of this role may connect."""
        self._read()
        return any(pair.role == role for _, pair in self._known.values())

    def _is_as_read(self, path: str) -> bool:
        return _signature(path) == self._files[path][0]

    def signature(self) -> object:
        """Differs from an earlier one when files were added, removed or replaced meanwhile."""
        return _signature(self.folder)

    def _read(self) -> None:
        try:
            paths = sorted(entry.path for entry in os.scandir(self.folder) if entry.name.endswith(".pub"))
        except FileNotFoundError:
            paths = []
        except OSError as error:
            if is_exhausted(error):
                return  # that is no fault of the list: who was on it, and whose file is as it was, still is
            # Nobody is let in on a list that can't be read.
            if not self._unreadable:
                _log.error("authorized keys can't be read", extra={"folder": self.folder, "error": error.strerror})
            paths = []
            self._unreadable = True
        else:
            self._unreadable = False
        files: dict[str, tuple[_Signature, KeyPair | None]] = {}
        known: dict[str, tuple[str, KeyPair]] = {}
        for path in paths:
            signature = _signature(path)
            if signature is None:
                continue
            old = self._files.get(path)
            changed = old is None or old[0] != signature
            try:
                pair = self._load(path) if old is None or changed else old[1]
            except FustorError:
                return  # as above
            files[path] = (signature, pair)
            if pair is None:
                continue
            if pair.public in known:
                if changed:
                    first = known[pair.public][0]
                    _log.warning("a key is authorized twice; the first counts", extra={"first": first, "second": path})
                continue
            known[pair.public] = (path, pair)
        self._files, self._known = files, known

    def _load(self, path: str) -> KeyPair | None:
        """The key in a file; None for none. Raises FustorError when there is nothing left to read with."""
        try:
            return load_public(path)
        except FustorError as error:
            if is_exhausted(error):
                raise
            _log.error("not an authorized key: %s", error)
            return None
