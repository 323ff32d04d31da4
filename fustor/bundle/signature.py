"""
Signatures of bundles: Ed25519 (RFC 8032) over digest, expiry and key.

A bundle may have several, one for each key; they are beside the manifest, so signing changes nothing of what is signed.
What is signed begins with a line that no other text of ours begins with, so a signature can't be used for anything
else.

What this module does not do: keep keys (:mod:`fustor.bundle.keys`), or read a clock: ``now`` is in seconds since 1970.
PyNaCl is imported where something is signed or verified, not before: processes that only might need it start faster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from fustor.bundle import canonical
from fustor.bundle.manifest import FORMAT, SIGNATURES
from fustor.runtime.config import ConfigFaults, between, matching, structure
from protocols.errors import BundleError, ConfigError

#: Signatures of one bundle.
MOST_SIGNATURES = 16
_LARGEST = MOST_SIGNATURES * 512
#: The year 9999.
_LAST_SECOND = 253_402_300_799


@attrs.frozen(kw_only=True)
class Signature:
    """
    Attributes:
        key: the public key, hexadecimal; the id of the key is the key.
        expires: seconds since 1970; from then on it says nothing any more.
        signature: hexadecimal.
    """

    key: str = attrs.field(validator=matching("[0-9a-f]{64}", "64 hexadecimal digits"))
    expires: int = attrs.field(validator=between(0, _LAST_SECOND))
    signature: str = attrs.field(validator=matching("[0-9a-f]{128}", "128 hexadecimal digits"))


def _distinct(instance: object, attribute: attrs.Attribute[Any], value: tuple[Signature, ...]) -> None:
    keys = [one.key for one in value]
    if len(keys) > MOST_SIGNATURES or keys != sorted(set(keys)):
        accepted = f"at most {MOST_SIGNATURES} are accepted, one for each key, sorted by key"
        raise ConfigError(attribute.name, len(keys), accepted)


@attrs.frozen(kw_only=True)
class _Signatures:
    """The member ``signatures.json``."""

    format: int = attrs.field(validator=between(FORMAT, FORMAT))
    signatures: tuple[Signature, ...] = attrs.field(validator=_distinct)


def encode(signatures: Iterable[Signature]) -> bytes:
    """
    The text of ``signatures.json``.

    Raises:
        ConfigError: too many, or two of one key.
    """
    found = tuple(sorted(signatures, key=lambda one: one.key))
    return canonical.encode(attrs.asdict(_Signatures(format=FORMAT, signatures=found)))


def decode(text: bytes) -> tuple[Signature, ...]:
    """
    The signatures in ``text``.

    Raises:
        BundleError: it is not what :func:`encode` makes; names every field that is wrong.
    """
    data = canonical.decode(text, SIGNATURES, _LARGEST)
    try:
        return structure(_Signatures, data).signatures
    except ConfigFaults as error:
        raise BundleError("\n".join(f"{SIGNATURES}: {fault}" for fault in error.faults)) from None


def signed_text(digest: str, expires: int, key: str) -> bytes:
    """What a signature covers."""
    return f"fustor bundle signature {FORMAT}\ndigest {digest}\nexpires {expires}\nkey {key}\n".encode()


def sign(digest: str, expires: int, public: str, secret: str) -> Signature:
    """
    The signature of a bundle.

    Args:
        digest: of the bundle.
        expires: seconds since 1970.
        public, secret: the key, hexadecimal; the secret is the seed (RFC 8032, 5.1.5).
    """
    from nacl.signing import SigningKey

    made = SigningKey(bytes.fromhex(secret)).sign(signed_text(digest, expires, public)).signature
    return Signature(key=public, expires=expires, signature=made.hex())


def is_genuine(digest: str, signature: Signature) -> bool:
    """Whether the owner of the key has made it, for this digest. It says nothing about trust or time."""
    from nacl.exceptions import BadSignatureError
    from nacl.signing import VerifyKey

    text = signed_text(digest, signature.expires, signature.key)
    try:
        VerifyKey(bytes.fromhex(signature.key)).verify(text, bytes.fromhex(signature.signature))
    except BadSignatureError:
        return False
    return True


def signers(
    digest: str, signatures: Iterable[Signature], trusted: Mapping[str, str], now: float
) -> tuple[Signature, ...]:
    """
    The signatures that are believed: by a trusted key, genuine, not expired. At least one.

    Args:
        digest: of the bundle, computed from its manifest.
        signatures: that it brings.
        trusted: names by public key.
        now: seconds since 1970.

    Raises:
        BundleError: there is none; says of each why not.
    """
    believed, reasons = [], []
    for one in signatures:
        if one.key not in trusted:
            reasons.append(f"key {one.key[:16]}…: it is not trusted")
        elif now >= one.expires:
            reasons.append(f"key {one.key[:16]}… ({trusted[one.key]}): its signature has expired")
        elif not is_genuine(digest, one):
            reasons.append(f"key {one.key[:16]}… ({trusted[one.key]}): its signature is not of this bundle")
        else:
            believed.append(one)
    if not believed:
        raise BundleError("no signature is believed: " + ("; ".join(reasons) or "it is not signed"))
    return tuple(believed)
