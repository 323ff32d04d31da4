"""The generator: exactly what was asked for, the same for the same seed, and shaped like something real."""

from __future__ import annotations

import os
import statistics
from pathlib import Path

import pytest

from benchmarks.trees import SCRATCH, SMALL, SMALL_FILES, make_tree, plan


@pytest.mark.parametrize("files", [20, 21, 500, 5000])
def test_it_has_exactly_so_many_files(files: int) -> None:
    assert sum(len(directory.files) for directory in plan(files, 1)) == files


def test_the_same_seed_gives_the_same_tree() -> None:
    assert list(plan(2000, 7)) == list(plan(2000, 7))
    assert list(plan(2000, 7)) != list(plan(2000, 8))


def test_every_directory_comes_after_its_parent_which_names_it() -> None:
    announced = {""}
    for directory in plan(3000, 3):
        assert directory.path in announced
        announced |= {f"{directory.path}/{name}".lstrip("/") for name in directory.subdirectories}
    assert {directory.path for directory in plan(3000, 3)} == announced


def test_names_are_unique_within_a_directory() -> None:
    for directory in plan(3000, 3):
        names = [*directory.subdirectories, *(file.name for file in directory.files)]
        assert len(names) == len(set(names))


def test_fan_out_is_uneven() -> None:
    """About 20 files in a directory on average, fewer in most, many in some; and it is several levels deep."""
    counts = [len(directory.files) for directory in plan(20_000, 1) if not directory.path.startswith(SCRATCH)]
    assert 12 < statistics.mean(counts) < 25
    assert statistics.median(counts) < statistics.mean(counts)
    assert max(counts) > 100
    assert max(directory.path.count("/") for directory in plan(20_000, 1)) >= 3


def test_too_few_files_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 20"):
        list(plan(19, 1))


def test_the_disk_has_what_was_planned(tmp_path: Path) -> None:
    told: list[int] = []
    tree = make_tree(str(tmp_path / "tree"), 800, 5, told.append)
    planned = {directory.path: directory for directory in plan(800, 5)}
    found = {}
    for folder, subdirectories, files in os.walk(tree.root):
        path = "" if folder == tree.root else os.path.relpath(folder, tree.root)
        found[path] = (set(subdirectories), {(name, *_attributes(folder, name)) for name in files})
    assert found == {
        path: (set(one.subdirectories), {(file.name, file.size, file.mtime_ns) for file in one.files})
        for path, one in planned.items()
    }
    assert sum(told) == tree.files == 800
    assert tree.directories == len(planned) - 1
    assert tree.top == planned[""].children
    assert len(os.listdir(os.path.join(tree.root, SMALL))) == SMALL_FILES
    assert dict(tree.remembered) == {
        path: one.children for path, one in planned.items() if not path.startswith(SCRATCH)
    }


def _attributes(folder: str, name: str) -> tuple[int, int]:
    status = os.lstat(os.path.join(folder, name))
    return status.st_size, status.st_mtime_ns


def test_it_remembers_at_most_a_thousand_directories_drawn_from_all(tmp_path: Path) -> None:
    tree = make_tree(str(tmp_path / "tree"), 30_000, 2)
    planned = [(directory.path, directory.children) for directory in plan(30_000, 2)]
    assert len(planned) > 1200
    assert len(tree.remembered) == 1000
    assert set(tree.remembered) <= set(planned)
    assert any(one in planned[-400:-200] for one in tree.remembered)
