"""Small bundles, and what a stranger could make of them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import attrs
from nacl.signing import SigningKey

from fustor.bundle import archive, canonical, signature
from fustor.bundle.keys import ROLE, ReleaseKey
from fustor.bundle.manifest import FORMAT, MANIFEST, SIGNATURES, BundleLimits, File, Manifest, Needs, Python, digest_of
from fustor.bundle.reading import Bundle, read

#: A moment, and one at which the signatures here have expired.
NOW, LATER = 1_800_000_000, 1_900_000_000

FILES = {"actors/__init__.py": b"", "actors/x/__init__.py": b"x = 1\n", "protocols/__init__.py": b'"""Words."""\n'}


def key_of(name: str) -> ReleaseKey:
    """The same key for the same name, always."""
    secret = name.encode().ljust(32, b".")
    public = bytes(SigningKey(secret).verify_key).hex()
    return ReleaseKey(name=name, role=ROLE, public=public, secret=secret.hex())


ANN, BOB = key_of("ann"), key_of("bob")
TRUSTED = {ANN.public: "ann"}


def plain(files: Mapping[str, bytes] = FILES, **changes: Any) -> dict[str, Any]:
    """A manifest as plain data; nothing is checked."""
    made: dict[str, Any] = {
        "format": FORMAT,
        "name": "small",
        "version": "1",
        "python": attrs.asdict(Python.here()),
        "platform": "",
        "needs": {"protocol": [1, 1], "shell": [1, 1]},
        "wheels": [],
        "files": {path: {"size": len(content), "sha256": File.of(content).sha256} for path, content in files.items()},
    }
    return {**made, **changes}


def manifest_of(files: Mapping[str, bytes] = FILES) -> Manifest:
    """As :func:`plain`, as a Manifest for this interpreter."""
    return Manifest(
        format=FORMAT,
        name="small",
        version="1",
        python=Python.here(),
        platform="",
        needs=Needs.here(),
        wheels=(),
        files={path: File.of(content) for path, content in files.items()},
    )


def packed(text: bytes, files: Mapping[str, bytes], signers: tuple[ReleaseKey, ...] = (ANN,)) -> bytes:
    """A bundle file with this manifest, whatever it says."""
    digest = digest_of(text)
    signed = [signature.sign(digest, LATER, key.public, key.secret) for key in signers]
    return archive.pack([(MANIFEST, text), (SIGNATURES, signature.encode(signed)), *sorted(files.items())])


def small(files: Mapping[str, bytes] = FILES, signers: tuple[ReleaseKey, ...] = (ANN,), **changes: Any) -> bytes:
    """A bundle file; ``changes`` of its manifest may make it a bad one."""
    return packed(canonical.encode(plain(files, **changes)), files, signers)


def bundle_in(content: bytes, limits: BundleLimits | None = None) -> Bundle:
    """The bundle, read from memory."""
    return read(io.BytesIO(content), limits or BundleLimits())


def believe(content: bytes, now: float = NOW) -> Bundle:
    """Everything that is asked of a bundle before it is run."""
    bundle = read(
        io.BytesIO(content), BundleLimits(), lambda digest, all_: signature.signers(digest, all_, TRUSTED, now)
    )
    bundle.check()
    return bundle
