"""Who is believed."""

from __future__ import annotations

import subprocess
import sys

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from fustor.bundle import canonical
from fustor.bundle.signature import (
    MOST_SIGNATURES,
    Signature,
    decode,
    encode,
    is_genuine,
    sign,
    signed_text,
    signers,
)
from protocols.errors import BundleError, ConfigError
from tests.support.bundles import ANN, BOB, LATER, NOW, TRUSTED, key_of

DIGEST, OTHER = "a" * 64, "b" * 64


def by(name: str, digest: str = DIGEST, expires: int = LATER) -> Signature:
    key = key_of(name)
    return sign(digest, expires, key.public, key.secret)


def test_what_is_signed_is_a_text_of_its_own_kind() -> None:
    text = signed_text(DIGEST, 5, ANN.public)
    assert text == f"fustor bundle signature 1\ndigest {DIGEST}\nexpires 5\nkey {ANN.public}\n".encode()
    assert SigningKey(bytes.fromhex(ANN.secret)).sign(text).signature.hex() == by("ann", expires=5).signature


def test_one_that_is_trusted_is_enough() -> None:
    both = (by("ann"), by("bob"))
    assert signers(DIGEST, both, TRUSTED, NOW) == (both[0],)
    assert signers(DIGEST, both, {ANN.public: "ann", BOB.public: "bob"}, NOW) == both


@pytest.mark.parametrize(
    ("signatures", "now", "words"),
    [
        ((), NOW, "it is not signed"),
        ((by("bob"),), NOW, f"key {BOB.public[:16]}…: it is not trusted"),
        ((by("ann"),), LATER, "its signature has expired"),
        ((by("ann", expires=NOW),), NOW, "its signature has expired"),
        ((by("ann", OTHER),), NOW, "its signature is not of this bundle"),
        ((attrs.evolve(by("ann"), expires=LATER + 1),), NOW, "its signature is not of this bundle"),
        ((attrs.evolve(by("bob"), key=ANN.public),), NOW, "its signature is not of this bundle"),
        ((attrs.evolve(by("ann"), signature="0" * 128),), NOW, "its signature is not of this bundle"),
        ((by("ann", OTHER), by("bob")), NOW, "not of this bundle; key .* not trusted"),
    ],
)
def test_who_is_not_believed_is_told_why(signatures: tuple[Signature, ...], now: float, words: str) -> None:
    with pytest.raises(BundleError, match=f"no signature is believed: .*{words}"):
        signers(DIGEST, signatures, TRUSTED, now)


def test_a_key_that_is_no_point_is_no_signer() -> None:
    """What libsodium refuses altogether is not genuine either."""
    for key in ("0" * 64, "f" * 64, "01" + "0" * 62):
        assert not is_genuine(DIGEST, attrs.evolve(by("ann"), key=key))


@given(st.binary(min_size=64, max_size=64))
def test_no_other_bytes_are_a_signature(other: bytes) -> None:
    assert not is_genuine(DIGEST, attrs.evolve(by("ann"), signature=other.hex()))


def test_who_only_might_verify_does_not_load_the_library() -> None:
    program = "import sys, fustor.bundle.unpacking; print(*{'nacl', 'zipfile', 'zmq'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_there_and_back() -> None:
    both = (by("bob"), by("ann"))
    assert decode(encode(both)) == tuple(sorted(both, key=lambda one: one.key))
    assert decode(encode(())) == ()


def test_too_many_can_not_be_written() -> None:
    names = [f"k{number}" for number in range(MOST_SIGNATURES + 1)]
    assert len(decode(encode(map(by, names[1:])))) == MOST_SIGNATURES
    with pytest.raises(ConfigError, match="at most 16 are accepted"):
        encode(map(by, names))
    with pytest.raises(ConfigError, match="one for each key"):
        encode((by("ann"), by("ann", expires=NOW)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "format = 2"),
        ({"signatures": {}}, "signatures = "),
        ({"signatures": [{}]}, r"signatures\[0\]\.key"),
        ({"signatures": [attrs.asdict(by("ann")), attrs.asdict(by("ann"))]}, "one for each key"),
        ({"signatures": [{**attrs.asdict(by("ann")), "expires": 1 << 60}]}, r"signatures\[0\]\.expires"),
        ({"signatures": [{**attrs.asdict(by("ann")), "expires": 1.5}]}, r"signatures\[0\]\.expires"),
        ({"signatures": [{**attrs.asdict(by("ann")), "key": "A" * 64}]}, r"signatures\[0\]\.key"),
        ({"signatures": [{**attrs.asdict(by("ann")), "more": 1}]}, r"signatures\[0\]\.more = 1: unknown key"),
        ({"signatures": ["x" * 10_000]}, "bytes, at most"),
    ],
)
def test_every_field_that_is_wrong_is_named(change: dict[str, object], words: str) -> None:
    with pytest.raises(BundleError, match=words):
        decode(canonical.encode({"format": 1, "signatures": [], **change}))
