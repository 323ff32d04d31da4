"""What this host leaves out: real directories, owners and sizes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from actors.scanner.look import Looker, Part, Place
from actors.scanner.mounts import Mounts
from fustor.runtime.deny import DataDeny
from fustor.selection.denied import denied
from protocols import data
from protocols.data import FAILED, LOST, OK, Task
from protocols.errors import ConfigError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@attrs.define
class Site:
    """A tree, and how a scanner looks at it with something denied."""

    root: Path
    mounts: Mounts

    def look(self, path: str = "", *, names: tuple[bytes, ...] | None = None, **deny: Any) -> Part:
        root = os.fsencode(self.root)
        looker = Looker(
            root=root,
            takes=None,
            one_filesystem=True,
            mounts=self.mounts,
            add_watch=lambda fd: 1,
            place=Place(),
            denied=denied(DataDeny(**deny), root),
        )
        status = os.stat(self.root / path)
        (part,) = looker.look(Task(dir=7, path=path.encode(), dev=status.st_dev, ino=status.st_ino, names=names))
        return part

    def names(self, path: str = "", **deny: Any) -> list[bytes]:
        return sorted(row[data.NAME] for row in self.look(path, **deny)[1])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    root = tmp_path / "root"
    for folder in ("private/deep", "public/private"):
        (root / folder).mkdir(parents=True)
    (root / "small").write_text("x")
    (root / "large").write_text("x" * 1000)
    mounts = Mounts(os.fsencode(root))
    yield Site(root, mounts)
    mounts.close()


def test_nothing_costs_nothing(site: Site) -> None:
    assert denied(DataDeny(), os.fsencode(site.root)) is None
    assert site.names() == [b"large", b"private", b"public", b"small"]


def test_directories_are_left_out_with_all_below_them(site: Site) -> None:
    deny: dict[str, Any] = {"directories": (str(site.root / "private"),)}
    assert site.names(**deny) == [b"large", b"public", b"small"]
    assert site.names("public", **deny) == [b"private"]  # another one of that name
    # Who comes by name hears that there is none; who had it from before is sent to its parent.
    result, rows = site.look(names=(b"private", b"small"), **deny)
    assert (result.gone, [row[data.NAME] for row in rows]) == ((b"private",), [b"private", b"small"])
    for below in ("private", "private/deep"):
        assert site.look(below, **deny)[0].status == LOST


def test_another_way_to_it_does_not_help(site: Site, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(site.root)
    deny: dict[str, Any] = {"directories": (str(tmp_path / "link" / "private"),)}
    assert b"private" not in site.names(**deny)
    root = os.fsencode(site.root)
    left_out = denied(DataDeny(**deny), root)
    assert left_out is not None
    os.rename(site.root / "private", site.root / "renamed")
    assert left_out.hides(b"renamed", os.stat(site.root / "renamed"))
    (site.root / "private").mkdir()
    assert left_out.hides(b"private", os.stat(site.root / "private"))


def test_large_files_are_left_out_and_large_directories_are_not(site: Site) -> None:
    assert site.names(file_bytes=999) == [b"private", b"public", b"small"]
    assert site.names(file_bytes=1000) == [b"large", b"private", b"public", b"small"]


@needs_root
def test_owners_are_left_out(site: Site) -> None:
    os.chown(site.root / "private", 4321, 0)
    os.chown(site.root / "small", 4321, 0)
    assert site.names(uids=(4321,)) == [b"large", b"public"]
    assert site.look("private", uids=(4321,))[0].status == LOST
    assert site.look(uids=(4321,))[0].status == OK
    os.chown(site.root, 4321, 0)
    assert site.look(uids=(4321,))[0].status == FAILED


def test_a_source_in_a_denied_directory_is_refused(site: Site) -> None:
    for directory in (site.root, site.root.parent, Path("/")):
        with pytest.raises(ConfigError, match="deny"):
            denied(DataDeny(directories=(str(directory),)), os.fsencode(site.root))
    assert denied(DataDeny(directories=(str(site.root) + "-other",)), os.fsencode(site.root)) is not None
