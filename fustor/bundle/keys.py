"""
Release keys: Ed25519 pairs in files like those of CURVE keys, with the role ``release`` and hexadecimal digits.

The secret signs bundles, and belongs on no host that runs Fustor: who takes Fusion over can send bundles, and can't
make one. Neither kind of key can be taken for the other: role and length differ.
"""

from __future__ import annotations

import attrs

from fustor.runtime.config import matching, read_toml, structure
from fustor.runtime.durable import create_durably
from fustor.runtime.keys import check_name, check_private, key_text
from protocols.errors import ConfigError

#: The role of every key here.
ROLE = "release"


def _check_secret(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    try:
        matching("([0-9a-f]{64})?", "64 hexadecimal digits")(instance, attribute, value)
    except ConfigError as error:
        raise ConfigError(error.field, "(hidden)", error.accepted) from None


@attrs.frozen(kw_only=True)
class ReleaseKey:
    """
    Attributes:
        name: of the owner, for people.
        role: :data:`ROLE`.
        public: hexadecimal.
        secret: the seed, hexadecimal; empty when only the public half is known. Never printed.
    """

    name: str = attrs.field(validator=check_name)
    role: str = attrs.field(validator=matching(ROLE, f"{ROLE!r}"))
    public: str = attrs.field(validator=matching("[0-9a-f]{64}", "64 hexadecimal digits"))
    secret: str = attrs.field(default="", repr=False, validator=_check_secret)


def generate(name: str) -> ReleaseKey:
    """
    A new pair.

    Raises:
        ValueError: the name can't be one.
    """
    from nacl.signing import SigningKey

    seed = SigningKey.generate()
    return ReleaseKey(name=name, role=ROLE, public=bytes(seed.verify_key).hex(), secret=bytes(seed).hex())


def create(key: ReleaseKey, secret_path: str, public_path: str) -> bool:
    """
    Write both files, 0600 and 0644; False, and nothing written, when there is such a secret already.

    Raises:
        MachineError: they can't be written.
    """
    if not create_durably(secret_path, key_text(key.name, key.role, key.public, key.secret), 0o600):
        return False
    create_durably(public_path, key_text(key.name, key.role, key.public), 0o644)
    return True


def load_public(path: str) -> ReleaseKey:
    """
    The public half in a file (a ``secret`` that stands there is dropped).

    Raises:
        ConfigError, ConfigFaults: not a release key; names file and field.
    """
    return attrs.evolve(structure(ReleaseKey, read_toml(path), file=path), secret="")


def load_secret(path: str) -> ReleaseKey:
    """
    The whole pair in a private file.

    Raises:
        ConfigError, ConfigFaults: not a release key, no secret in it, or others than its owner may read it.
    """
    from nacl.signing import SigningKey

    check_private(path)
    key = structure(ReleaseKey, read_toml(path), file=path)
    if not key.secret:
        raise ConfigError("secret", "", "the secret key is required here; this is a public file", path)
    if bytes(SigningKey(bytes.fromhex(key.secret)).verify_key).hex() != key.public:
        raise ConfigError("public", key.public, "it does not belong to the secret key beside it", path)
    return key
