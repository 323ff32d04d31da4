"""Names are bytes: every one that Linux allows comes back byte for byte, from any kind of entry."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.cluster import Cluster, raw_path

SINGLE = [bytes([byte]) for byte in range(1, 256) if byte not in b"/."]
OTHERS = [
    b"...",
    b". ",
    b"-rf",
    b"new\nline\ttab\r",
    b"quo\"te's",
    b"back\\slash\\u0000\\x01",
    b"%2F%00",
    b"a&b=c#d?e",
    b"x" * 255,
    b"\xff" * 255,
    "é".encode() * 127,
    b"caf\xc3",  # ends in the middle of a character
    b"\xed\xa0\x80",  # a surrogate, encoded
    b"\xf8\x88\x80\x80\x80",  # longer than UTF-8 goes
    b"\xc0\xaf",  # an overlong slash
    "e\u0301".encode(),  # the same letter as below, decomposed
    "\u00e9".encode(),
    "\u202egnp.exe".encode(),  # right to left
    "\U0001f600\ufeff\u2028".encode(),
    b"\x1b[31m\x07\x7f",
]


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    return shared


def test_every_byte_in_names_of_files_directories_and_targets(cluster: Cluster, place: Path) -> None:
    top = os.fsencode(place)
    for kind in (b"files", b"directories", b"links"):
        os.mkdir(top + b"/" + kind)
    names = SINGLE + OTHERS
    for name in names:
        with open(top + b"/files/" + name, "wb") as file:
            file.write(name)
        os.makedirs(top + b"/directories/" + name + b"/" + name)
        os.symlink(name, top + b"/links/" + name)
    cluster.assert_right()
    at = b"/" + os.fsencode(place.name)
    for name in names:
        for path in (b"/files/" + name, b"/directories/" + name + b"/" + name, b"/links/" + name):
            assert raw_path(cluster.tree(at + path)) == at + path
        assert len(cluster.tree(at + b"/directories/" + name)["children"]) == 1
    # Renaming them all moves what is below.
    for name in names:
        os.rename(top + b"/directories/" + name, top + b"/links/directory " + name[:200])
    cluster.assert_right()


def test_names_that_differ_only_in_normalisation_are_two(cluster: Cluster, place: Path) -> None:
    composed, decomposed = place / "caf\u00e9", place / "cafe\u0301"
    composed.write_bytes(b"one")
    decomposed.write_bytes(b"other")
    cluster.assert_right()
    at = b"/" + os.fsencode(place.name) + b"/"
    assert cluster.tree(at + os.fsencode(composed.name))["size"] == 3
    assert cluster.tree(at + os.fsencode(decomposed.name))["size"] == 5
    composed.unlink()
    cluster.assert_right()


def test_a_name_that_is_not_utf8_is_asked_for_as_base64_too(cluster: Cluster, place: Path) -> None:
    name = b"\xff\xfe not text"
    with open(os.fsencode(place) + b"/" + name, "wb"):
        pass
    cluster.assert_right()
    node = cluster.tree(b"/" + os.fsencode(place.name) + b"/" + name)
    assert "\ufffd" in node["name"]
    again = cluster.get(f"/fs/tree?path_b64={quote(node['path_b64'])}")
    assert again.status == 200
    assert again.json["path_b64"] == node["path_b64"]
