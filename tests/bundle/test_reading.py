"""A bundle is what its manifest says, or is refused."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fustor.bundle import canonical
from fustor.bundle.archive import pack
from fustor.bundle.manifest import BundleLimits, digest_of
from fustor.bundle.reading import opened
from protocols.errors import BundleError, MachineError
from tests.support.bundles import ANN, BOB, FILES, believe, bundle_in, packed, plain, small


def test_there_and_back(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(small())
    with opened(str(tmp_path / "x")) as bundle:
        assert {path: b"".join(bundle.blocks(path)) for path in bundle.manifest.files} == FILES
        assert bundle.digest == digest_of(bundle.manifest_text)
        assert [one.key for one in bundle.signatures] == [ANN.public]


def test_nothing_of_a_strangers_manifest_is_interpreted() -> None:
    for text in (b"{", canonical.encode({f"key{number}": number for number in range(1000)})):
        with pytest.raises(BundleError, match="no signature is believed"):
            believe(packed(text, {}, signers=(BOB,)))
        with pytest.raises(BundleError, match=r"manifest\.json"):
            believe(packed(text, {}))


def test_signatures_are_no_part_of_the_digest() -> None:
    assert len({bundle_in(small(signers=keys)).digest for keys in ((), (ANN,), (BOB,), (ANN, BOB))}) == 1


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({**FILES, "extra": b""}, "'extra' is in it and not in its manifest"),
        ({path: FILES[path] for path in sorted(FILES)[1:]}, "'actors/__init__.py' is in its manifest and not in it"),
        ({**FILES, "actors/__init__.py": b"!"}, "actors/__init__.py: 1 bytes, the manifest says 0"),
        ({**FILES, "actors/x/__init__.py": b"x = 2\n"}, "it is not the file that the manifest names"),
    ],
)  # fmt: skip
def test_manifest_and_members_must_agree(files: dict[str, bytes], words: str) -> None:
    with pytest.raises(BundleError, match=words):
        believe(packed(canonical.encode(plain()), files))


def test_the_order_of_the_members_is_fixed() -> None:
    content = small()
    members = bundle_in(content)
    parts = [("manifest.json", members.manifest_text), ("signatures.json", members.signatures_text)]
    assert pack([*parts, *sorted(FILES.items())]) == content
    with pytest.raises(BundleError, match="order of their names"):
        bundle_in(pack([*parts, *sorted(FILES.items(), reverse=True)]))
    with pytest.raises(BundleError, match=r"there is no signatures\.json"):
        bundle_in(pack([parts[0], *sorted(FILES.items())]))
    with pytest.raises(BundleError, match=r"there is no manifest\.json"):
        bundle_in(pack(parts[1:]))


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "/etc/passwd", "actors/../../x", "a\\b", "Actors/y", "manifest.json/x"]
)
def test_hostile_names_end_before_anything_is_written(path: str) -> None:
    with pytest.raises(BundleError, match="files = "):
        bundle_in(small({**FILES, path: b"root::0:0"}))


def test_every_damaged_byte_is_found() -> None:
    content = small()
    assert believe(content).manifest.files.keys() == FILES.keys()
    for place, change in itertools.product(range(len(content)), (0x01, 0xFF)):
        damaged = bytearray(content)
        damaged[place] ^= change
        with pytest.raises(BundleError):
            believe(bytes(damaged))


def test_every_cut_is_found() -> None:
    content = small()
    for length in range(len(content)):
        with pytest.raises(BundleError):
            believe(content[:length])


@given(st.dictionaries(st.text(st.sampled_from("aAb./\\"), min_size=1, max_size=6), st.binary(max_size=9), max_size=5))
def test_whatever_it_is_called_it_is_ours_or_refused(files: dict[str, bytes]) -> None:
    try:
        found = believe(small(files))
    except BundleError:
        return
    assert {path: b"".join(found.blocks(path)) for path in found.manifest.files} == files


def test_limits_are_the_callers() -> None:
    with pytest.raises(BundleError, match="5 members, at most 3 are accepted"):
        bundle_in(small(), BundleLimits(files=1))
    with pytest.raises(BundleError, match=r"manifest\.json: \d+ bytes, at most 9 are accepted"):
        bundle_in(small(), BundleLimits(manifest_bytes=9))


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.bundle"
    with pytest.raises(MachineError, match=r"x\.bundle can't be read: No such file"), opened(str(path)):
        pass
    path.write_bytes(b"no")
    with pytest.raises(BundleError, match=r"x\.bundle: not a bundle"), opened(str(path)):
        pass


def test_nothing_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(BundleError, match="no regular file"), opened(str(path)):
            pass


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(small({"a": bytes(3 << 20)}))
    with opened(str(path)) as bundle:
        os.truncate(path, 2 << 20)
        with pytest.raises(BundleError, match="a: the file ends within it"):
            bundle.check()
