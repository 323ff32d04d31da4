"""Bundles from people, piece by piece, into a folder of Fusion."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from fustor.bundle.manifest import digest_of
from fustor.fusion.bundles import BundleStore, BundleStoreLimits
from protocols.errors import RequestError
from tests.support.bundles import bundle_in, small

CONTENT = small()
DIGEST = bundle_in(CONTENT).digest


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return BundleStore(str(tmp_path / "bundles"), BundleStoreLimits(kept=2))


def put(store: BundleStore, content: bytes, digest: str, piece: int = 1000, start: int = 0) -> int:
    at = start
    while at < len(content):
        data = base64.b64encode(content[at : at + piece]).decode()
        at = store.put(digest, at, len(content), data)["next"]
    return at


def test_it_is_there_when_the_last_piece_has_come(store: BundleStore, tmp_path: Path) -> None:
    assert store.rows() == []
    assert store.put(DIGEST, 0, len(CONTENT), base64.b64encode(CONTENT[:500]).decode()) == {"next": 500}
    assert not store.has(DIGEST)
    assert store.rows() == []
    # Who begins again is told where to go on.
    assert put(store, CONTENT, DIGEST) == len(CONTENT)
    assert store.has(DIGEST)
    (row,) = store.rows()
    assert (row["digest"], row["bytes"], row["name"], row["error"]) == (DIGEST, len(CONTENT), "small", "")
    assert store.put(DIGEST, 0, len(CONTENT), "") == {"next": len(CONTENT)}, "it is there already"
    store.remove(DIGEST)
    assert store.rows() == []
    assert os.listdir(tmp_path / "bundles") == []


def test_what_is_no_whole_bundle_of_its_digest_is_refused_and_forgotten(store: BundleStore, tmp_path: Path) -> None:
    bad = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    for content, digest in ((bad, DIGEST), (CONTENT, digest_of(b"another"))):
        with pytest.raises(RequestError, match="a whole bundle is accepted"):
            put(store, content, digest)
    assert os.listdir(tmp_path / "bundles") == []
    assert put(store, CONTENT, DIGEST) == len(CONTENT)


def test_another_size_begins_anew(store: BundleStore) -> None:
    store.put(DIGEST, 0, len(CONTENT), base64.b64encode(CONTENT[:1000]).decode())
    assert store.put(DIGEST, 1000, 100, base64.b64encode(b"x").decode()) == {"next": 0}
    assert put(store, CONTENT, DIGEST) == len(CONTENT)


def test_bounds_and_arguments_are_named(store: BundleStore) -> None:
    for args, field in (
        (("x", 0, 5, ""), "digest"),
        ((DIGEST, 0, 0, ""), "total"),
        ((DIGEST, 0, 1 << 50, ""), "total"),
        ((DIGEST, 0, 5, "%"), "data"),
    ):
        with pytest.raises(RequestError, match=field):
            store.put(*args)
    for number in range(2):
        content = small({"actors/__init__.py": b"%d" % number})
        put(store, content, bundle_in(content).digest)
    with pytest.raises(RequestError, match="kept"):
        put(store, CONTENT, DIGEST)
    with pytest.raises(RequestError, match="digest"):
        store.remove(DIGEST)
