"""What a manifest may say, and what becomes of one that says something else."""

from __future__ import annotations

import copy
import sys
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fustor.bundle import canonical
from fustor.bundle.manifest import (
    COMPONENT_CHARACTERS,
    PATH_CHARACTERS,
    BundleLimits,
    File,
    Manifest,
    Needs,
    Python,
    check_paths,
    decode,
    digest_of,
    platform_here,
    span,
    unmet,
    unmet_here,
)
from protocols.errors import BundleError, ConfigError
from tests.support.bundles import manifest_of, plain

LIMITS = BundleLimits()


def text_of(**changes: Any) -> bytes:
    return canonical.encode({**plain(), **changes})


def test_there_and_back() -> None:
    text = text_of()
    found = decode(text, LIMITS)
    assert found.encode() == text
    assert (found.name, found.needs.shell, found.total_bytes) == ("small", (1, 1), 19)
    assert digest_of(text) == digest_of(found.encode())
    assert len(digest_of(text)) == 64


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "format = 2: 1 is accepted; a newer program"),
        ({"format": True}, "format = True: an integer is accepted"),
        ({"name": "../x"}, "name = '../x': 1 to 63 of letters"),
        ({"name": 5}, "name = 5: text is accepted"),
        ({"version": ""}, "version = '': a version is accepted"),
        ({"python": None}, "python = None: a table is accepted"),
        ({"python": {"implementation": "cpython", "version": "3", "cache_tag": "c"}}, r"python\.version = '3'"),
        ({"platform": "a/b"}, "platform = 'a/b'"),
        ({"needs": {"protocol": [1], "shell": [1, 1]}}, r"needs\.protocol = \(1,\): oldest and newest"),
        ({"needs": {"protocol": [2, 1], "shell": [1, 1]}}, r"needs\.protocol"),
        ({"needs": {"protocol": [1, 1], "shell": [1, 1 << 40]}}, r"needs\.shell"),
        ({"needs": {"protocol": [1, 1], "shell": [1, 1], "kernel": [6, 7]}}, r"needs\.kernel = .*unknown key"),
        ({"wheels": ["x.zip"]}, "wheels = 'x.zip': file names of wheels"),
        ({"wheels": ["\ud800.whl"]}, "wheels"),
        ({"files": []}, "files = .*: a table is accepted"),
        ({"files": {"a": [1, "b"]}}, r"files\.a = .*: a table is accepted"),
        ({"files": {"a": {"size": -1, "sha256": "0" * 64}}}, r"files\.a\.size = -1"),
        ({"files": {"a": {"size": 1, "sha256": "0" * 63}}}, r"files\.a\.sha256"),
        ({"files": {"/a": {"size": 1, "sha256": "0" * 64}}}, "files = '/a': relative paths"),
        ({"surprise": 1}, "surprise = 1: unknown key"),
    ],
)
def test_every_field_that_is_wrong_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        decode(text_of(**changes), LIMITS)
    assert all(line.startswith("manifest.json: ") for line in str(caught.value).splitlines())


@pytest.mark.parametrize("field", sorted(plain()))
def test_every_field_is_needed(field: str) -> None:
    data = plain()
    del data[field]
    with pytest.raises(BundleError, match=field):
        decode(canonical.encode(data), LIMITS)


@pytest.mark.parametrize("value", [None, 1, [], "x", {}, [[]]])
def test_what_is_no_manifest_at_all(value: object) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json"):
        decode(canonical.encode(value), LIMITS)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"files": 2}, "3 files, at most 2"),
        ({"file_bytes": 12}, "13 bytes in one file, at most 12"),
        ({"total_bytes": 18}, "19 bytes in all files, at most 18"),
        ({"manifest_bytes": 100}, "bytes, at most 100"),
    ],
)
def test_limits(limits: dict[str, int], words: str) -> None:
    with pytest.raises(BundleError, match=words):
        decode(text_of(), BundleLimits(**limits))


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a/..", "a\\b", "c:a", "a\0", "a\n", "ä",
        "a ", "a.", "a/b./c", "x" * (COMPONENT_CHARACTERS + 1), "x/" * (PATH_CHARACTERS // 2) + "y", "manifest.json",
        "Signatures.json", "a*", 'a"', "a|b", "a?",
    ],
)  # fmt: skip
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="files = "):
        check_paths(["fine", path])


@pytest.mark.parametrize("paths", [["a", "A"], ["a", "a/b"], ["A", "a/b"], ["a/x", "A/y"], ["a/b/c", "a/B/d"]])
def test_paths_in_each_others_way_are_refused(paths: list[str]) -> None:
    with pytest.raises(ConfigError, match="does not collide"):
        check_paths(paths)
    with pytest.raises(ConfigError, match="does not collide"):
        check_paths(reversed(paths))


def test_plain_paths_are_fine() -> None:
    check_paths(["a", "b/a", "b/c.py", "b/.hidden", "b/x (dev).tmpl", "a-1.0+l.dist-info/RECORD", "x" * 200])


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in plain data."""
    found = []
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        found.append((value, key))
        if isinstance(inner, dict | list):
            found += places(inner)
    return found


@given(st.data())
def test_any_change_gives_another_manifest_or_an_error(data: st.DataObject) -> None:
    changed = copy.deepcopy(plain())
    container, key = data.draw(st.sampled_from(places(changed)))
    if data.draw(st.booleans()) and isinstance(container, dict):
        container[data.draw(st.text(max_size=10))] = data.draw(VALUES)
    else:
        container[key] = data.draw(VALUES)
    text = canonical.encode(changed)
    try:
        found = decode(text, LIMITS)
    except BundleError:
        return
    assert found.encode() == text


@given(st.binary(max_size=300) | VALUES.map(canonical.encode))
def test_any_bytes_are_refused_with_an_error_of_ours(text: bytes) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json"):
        decode(text, LIMITS)


COMPONENT = st.text(st.sampled_from("abcXYZ019._-+ "), min_size=1, max_size=6)


@given(st.lists(st.lists(COMPONENT, min_size=1, max_size=3).map("/".join), max_size=6, unique=True))
def test_accepted_paths_can_all_be_made(paths: list[str]) -> None:
    try:
        check_paths(paths)
    except ConfigError:
        return
    lowered = [path.lower() for path in paths]
    assert len(set(lowered)) == len(paths)
    assert not any(one.startswith(f"{other}/") for one in lowered for other in lowered)
    assert all(part not in ("", ".", "..") for path in paths for part in path.split("/"))


def test_a_file_is_known_by_its_content() -> None:
    assert File.of(b"abc").sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert File.of(b"abc").size == 3


def test_what_this_host_offers() -> None:
    assert unmet_here(manifest_of()) == []
    assert Python.here().version == f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert platform_here().startswith(Python.here().cache_tag)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: attrs.evolve(m, python=attrs.evolve(m.python, version="3.99")), "it is for cpython 3.99"),
        (lambda m: attrs.evolve(m, python=attrs.evolve(m.python, cache_tag="other-1")), "(other-1)"),
        (lambda m: attrs.evolve(m, platform="cpython-311-s390x-linux-gnu"), "modules are for cpython-311-s390x"),
        (lambda m: attrs.evolve(m, needs=attrs.evolve(m.needs, protocol=(7, 9))), "needs protocol 7 to 9, here is 1"),
        (lambda m: attrs.evolve(m, needs=attrs.evolve(m.needs, shell=(0, 0))), "needs shell 0, here is 1"),
    ],
)  # fmt: skip
def test_what_is_not_met_is_said(change: Any, reason: str) -> None:
    (said,) = unmet_here(change(manifest_of()))
    assert reason in said


def test_ranges_that_overlap_get_on() -> None:
    manifest: Manifest = attrs.evolve(manifest_of(), needs=Needs(protocol=(2, 4), shell=(1, 1)))
    for offered, fits in (((1, 1), False), ((1, 2), True), ((3, 3), True), ((4, 9), True), ((5, 9), False)):
        assert (unmet(manifest, Python.here(), "", Needs(protocol=offered, shell=(1, 1))) == []) is fits


def test_a_range_for_people() -> None:
    assert (span((1, 1)), span((1, 3))) == ("1", "1 to 3")
