"""Wheels: what of them goes into a bundle, and which are refused."""

from __future__ import annotations

import base64
import hashlib
import os
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from fustor.bundle.wheels import Wheels, fits, load
from protocols.errors import BundleError, MachineError

FILES = {
    "extra/__init__.py": b"x = 1\n",
    "extra-1.0.data/purelib/more/__init__.py": b"y = 2\n",
    "extra-1.0.data/scripts/extra": b"#!python\n",
    "extra-1.0.dist-info/METADATA": b"Name: extra\n",
}
EXACT, MACHINE = f"cp{sys.version_info[0]}{sys.version_info[1]}", os.uname().machine


def wheel(
    folder: Path,
    name: str = "extra-1.0-py3-none-any.whl",
    more: Mapping[str, bytes] = MappingProxyType({}),
    record: bytes | None = None,
) -> Path:
    """A wheel with FILES and ``more``, each with its digest in RECORD; ``record`` replaces that."""
    files = {**FILES, **more}
    lines = []
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(content)}\r\n")
    text = "".join([*lines, "extra-1.0.dist-info/RECORD,,\r\n"]).encode() if record is None else record
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as made:
        for path, content in {**files, "extra-1.0.dist-info/RECORD": text}.items():
            made.writestr(path, content)
    return folder / name


def test_what_is_installed_is_taken(tmp_path: Path) -> None:
    wheel(tmp_path)
    found = load(str(tmp_path))
    assert found.files["extra/__init__.py"] == b"x = 1\n"
    assert found.files["more/__init__.py"] == b"y = 2\n"
    assert "extra-1.0.dist-info/METADATA" in found.files
    assert not any("scripts" in path for path in found.files)
    assert (found.names, found.is_native) == (("extra-1.0-py3-none-any.whl",), False)
    assert Wheels().files == {}


def test_code_for_this_machine(tmp_path: Path) -> None:
    wheel(tmp_path, f"extra-1.0-{EXACT}-{EXACT}-linux_{MACHINE}.whl", {"extra/fast.so": b"\x7fELF"})
    assert load(str(tmp_path)).is_native


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (("py3", "none", "any"), True),
        (("py2.py3", "none", "any"), True),
        (("py2", "none", "any"), False),
        ((EXACT, "none", "any"), True),
        (("cp32", "none", "any"), False),
        ((EXACT, EXACT, f"manylinux_2_17_{MACHINE}.manylinux2014_{MACHINE}"), True),
        ((EXACT, f"{EXACT}t", f"manylinux_2_17_{MACHINE}"), False),
        ((EXACT, EXACT, f"musllinux_1_2_{MACHINE}"), False),
        ((EXACT, EXACT, "manylinux_2_17_s390x"), False),
        ((EXACT, EXACT, "macosx_11_0_arm64"), False),
        (("cp36", "abi3", f"linux_{MACHINE}"), True),
        (("cp399", "abi3", f"linux_{MACHINE}"), False),
        (("cp36", "cp36m", f"linux_{MACHINE}"), False),
        (("pp311", "pypy311_pp73", f"linux_{MACHINE}"), False),
    ],
)
def test_tags(tags: tuple[str, str, str], expected: bool) -> None:
    assert fits(*tags) is expected


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"actors/__init__.py": b"!"}, "actors/__init__.py would take the place of actors"),
        ({"fustor.py": b"!"}, "fustor.py would take the place of fustor"),
        ({"json/__init__.py": b"!"}, "would take the place of json"),
        ({"extra-1.0.data/platlib/sitecustomize.py": b"!"}, "would take the place of sitecustomize"),
        ({"other-2.dist-info/RECORD": b"x"}, "a wheel has one RECORD, this has 2"),
    ],
)
def test_what_is_refused(tmp_path: Path, more: dict[str, bytes], words: str) -> None:
    wheel(tmp_path, more=more)
    with pytest.raises(BundleError, match=f"extra-1.0-py3-none-any.whl: .*{words}"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (b"", "its RECORD says no digest of extra/__init__.py"),
        (b"extra/__init__.py,md5=x,1\n", "no digest of extra/__init__.py"),
        (b"extra/__init__.py,sha256=x,1\n", "extra/__init__.py is not the file that its RECORD names"),
        (b"\xff", "its RECORD can't be read"),
    ],
)
def test_a_wheel_must_be_what_its_record_says(tmp_path: Path, record: bytes, words: str) -> None:
    wheel(tmp_path, record=record)
    with pytest.raises(BundleError, match=f"extra-1.0-py3-none-any.whl: .*{words}"):
        load(str(tmp_path))


def test_damaged_wheels_are_named(tmp_path: Path) -> None:
    path = wheel(tmp_path)
    content = path.read_bytes()
    for damaged in (content[:-30], b"", content.replace(b"extra/__init__.py", b"extra/__init__.px", 1)):
        path.write_bytes(damaged)
        with pytest.raises(BundleError, match=r"extra-1\.0-py3-none-any\.whl: it is damaged"):
            load(str(tmp_path))


def test_wheels_must_fit(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="there are no wheels"):
        load(str(tmp_path))
    path = wheel(tmp_path, "extra-1.0-cp27-cp27mu-manylinux1_x86_64.whl")
    with pytest.raises(BundleError, match="it is not for this interpreter"):
        load(str(tmp_path))
    path.rename(tmp_path / "extra.whl")
    with pytest.raises(BundleError, match="not the name of a wheel"):
        load(str(tmp_path))
    with pytest.raises(MachineError, match="can't be read"):
        load(str(tmp_path / "none"))


def test_wheels_in_each_others_way(tmp_path: Path) -> None:
    wheel(tmp_path)
    wheel(tmp_path, "Extra-1.1-py3-none-any.whl")
    with pytest.raises(BundleError, match="is the same distribution"):
        load(str(tmp_path))
    (tmp_path / "Extra-1.1-py3-none-any.whl").rename(tmp_path / "other-1-py3-none-any.whl")
    assert len(load(str(tmp_path)).names) == 2
    wheel(tmp_path, "other-1-py3-none-any.whl", {"extra/__init__.py": b"x = 3\n"})
    with pytest.raises(BundleError, match=r"another wheel has extra/__init__\.py with another content"):
        load(str(tmp_path))
