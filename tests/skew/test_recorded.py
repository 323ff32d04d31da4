"""What earlier versions said is understood, and what later ones may add does no harm."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest

import fustor
from protocols.codec import DATA_LIMITS, VERSION, decode, encode
from protocols.errors import VersionError
from tests.skew.recording import FOLDER, example, kinds, plain, recorded

FILES = sorted(FOLDER.glob("*.json"))
SAID = [(file.stem, kind) for file in FILES for kind in json.loads(file.read_text())]


def same(old: Any, new: Any) -> bool:
    """All that the old value says, the new one says too; records may have more fields."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(key in new and same(value, new[key]) for key, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(same, old, new))
    return bool(old == new)


@pytest.mark.parametrize(("version", "kind"), SAID)
def test_what_a_version_said_is_understood(version: str, kind: str) -> None:
    said = json.loads((FOLDER / f"{version}.json").read_text())[kind]
    heard: Any = decode(bytes.fromhex(said["wire"]), kinds()[kind], limits=DATA_LIMITS)
    assert same(said["fields"], plain(heard))


def test_what_this_version_says_is_recorded() -> None:
    """A change of the wire is made on purpose, or not at all: python -m tests.skew.recording."""
    assert json.loads((FOLDER / f"{fustor.__version__}.json").read_text()) == json.loads(json.dumps(recorded()))


@pytest.mark.parametrize("kind", kinds())
def test_what_a_later_version_adds_is_passed_over(kind: str) -> None:
    one = example(kinds()[kind])
    wire = {**msgpack.unpackb(encode(one)), "novelty": [1, {"x": None}]}
    heard: Any = decode(msgpack.packb(wire), kinds()[kind], limits=DATA_LIMITS)
    assert heard == decode(encode(one), kinds()[kind], limits=DATA_LIMITS)


@pytest.mark.parametrize("kind", kinds())
def test_another_version_of_the_protocol_is_named(kind: str) -> None:
    wire = {**msgpack.unpackb(encode(example(kinds()[kind]))), "v": VERSION + 1}
    with pytest.raises(VersionError, match=f"protocol version {VERSION + 1}, we speak {VERSION}"):
        decode(msgpack.packb(wire), kinds()[kind], limits=DATA_LIMITS)
