"""Which modules are in a bundle."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fustor.bundle.build import root_of_program
from fustor.bundle.collect import sources
from protocols.errors import BundleError, MachineError


def tree(folder: Path, **files: str) -> str:
    """Packages in a folder; names have ``__`` for slashes."""
    for package in ("actors", "protocols", "fustor"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text("")
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)
    return str(folder)


PLAIN = ["actors/__init__.py", "protocols/__init__.py"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import json, zmq", []),
        ("import fustor", ["fustor"]),
        ("import fustor.a", ["fustor", "fustor/a"]),
        ("from fustor import a", ["fustor", "fustor/a"]),
        ("from fustor import __version__", ["fustor"]),
        ("from fustor.b.c import f", ["fustor", "fustor/b", "fustor/b/c", "fustor/a"]),
        ("from fustor.b import c as d", ["fustor", "fustor/b", "fustor/b/c", "fustor/a"]),
        ("def f():\n    from fustor import a", ["fustor", "fustor/a"]),
        ("from . import y", []),
        ("from .y import z", []),
    ],
)
def test_what_is_imported_is_taken_and_nothing_else(tmp_path: Path, text: str, found: list[str]) -> None:
    root = tree(
        tmp_path,
        actors__x=text,
        actors__y="",
        fustor__a="",
        fustor__b__c="import fustor.a",
        fustor__unused="import fustor.b.c",
    )
    packages = {"fustor", "fustor/b"}
    expected = [f"{name}/__init__.py" if name in packages else f"{name}.py" for name in found]
    assert list(sources(root)) == sorted([*PLAIN, "actors/x.py", "actors/y.py", *expected])


def test_contents_are_those_of_the_files(tmp_path: Path) -> None:
    root = tree(tmp_path, actors__x="# ä\r\n")
    assert sources(root)["actors/x.py"] == "# ä\r\n".encode()


def test_what_is_no_module_is_left_out(tmp_path: Path) -> None:
    root = tree(tmp_path, actors__x="")
    for name in ("actors/.x.py.swp", "actors/x.py~", "actors/not-one.py", "actors/py.typed", "protocols/x.pyc"):
        (tmp_path / name).write_text("")
    for folder in ("actors/__pycache__", "actors/.git", "actors/a-b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "z.py").write_text("(")
    assert list(sources(root)) == ["actors/__init__.py", "actors/x.py", "protocols/__init__.py"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import fustor.gone", r"actors/x\.py: it imports fustor\.gone, which is not there"),
        ("from fustor.gone import y", r"it imports fustor\.gone"),
        ("from protocols.gone import y", r"it imports protocols\.gone"),
        ("(", r"actors/x\.py: it can't be parsed"),
        ("\0", r"actors/x\.py: it can't be parsed"),
    ],
)
def test_what_can_not_run_is_not_packed(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        sources(tree(tmp_path, actors__x=text))


def test_packages_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="there is no package actors"):
        sources(str(tmp_path))


def test_what_can_not_be_read_is_said(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (tmp_path / "actors" / "x.py").symlink_to("nowhere")
    with pytest.raises(MachineError, match=r"actors/x\.py can't be read"):
        sources(root)


def test_this_program() -> None:
    found = sources(root_of_program())
    packages = {path.rsplit("/", 1)[0] for path in found}
    assert {"actors/query/http", "actors/watcher", "fustor/runtime", "fustor/treestore", "protocols"} <= packages
    for module in ("agent/control", "fusion/control", "guardian/main", "runtime/shell"):
        assert f"fustor/{module}.py" in found
    # A bundle does not bring what it can't replace.
    assert "fustor/admin" not in packages
    assert found["protocols/codec.py"] == Path(sys.modules["protocols"].__path__[0], "codec.py").read_bytes()


def test_there_is_nothing_but_modules_to_take() -> None:
    """A file that is read at run time would be missing in a bundle."""
    root = Path(root_of_program())
    others = {
        path.name
        for package in ("actors", "protocols", "fustor")
        for path in (root / package).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert others == {"py.typed"}
