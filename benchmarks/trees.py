"""
Trees to measure with: seeded, with realistic names, sizes, times and fan-out.

What this module does not do: clean up, or decide where the tree goes.
"""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Callable, Iterator

import attrs

from benchmarks.errors import CannotRunError

# fmt: off
_WORDS = (
    "report", "IMG", "invoice", "model", "sample", "backup", "track", "scene", "log", "draft", "final", "raw",
    "export", "contract", "étude", "Übersicht", "报告", "thumbnail", "checkpoint", "minutes", "README", "render",
    "survey", "patient", "batch",
)
# fmt: on
_ENDINGS = (".jpg", ".csv", ".json", ".txt", ".parquet", ".log", ".tar.gz", ".mp4", ".bin", ".pdf", ".h5", ".py", "")
#: How many subdirectories a directory has; most have few, one in twenty has many.
_BRANCHES = (0, 0, 1, 2, 2, 3, 3, 4, 5, 6, 8, 24)
#: Mean and most files in a directory; half of all directories have fewer than 13.
_FILES_MEAN, _FILES_MOST = 20, 5000
_LOG_MEAN, _LOG_SIGMA = 2.4957, 1.0  # of a log-normal distribution whose mean is 20
#: Files are from these years, those of one directory from a few days.
_OLDEST, _NEWEST = 1_420_070_400, 1_735_689_600
#: The directory of 20 files that the small questions are about.
SMALL, SMALL_FILES = "accounts/2024/quarter 3", 20
#: Empty directories in which measures make files: there from the start, so that every system has its watches on them.
SCRATCH = "scratch"
#: Those that writers spread their files over, and one for files that are looked for one by one.
SCRATCH_WRITTEN, SCRATCH_LOOKED = tuple(f"{number:03d}" for number in range(100)), "looks"
#: Directories remembered for random questions.
_REMEMBERED = 1000


@attrs.frozen
class File:
    """Attributes: name; size in bytes; mtime_ns since 1970."""

    name: str
    size: int
    mtime_ns: int


@attrs.frozen
class Directory:
    """
    Attributes: path below the root ("" is the root, "/" between names); names of its subdirectories; its files.
    """

    path: str
    subdirectories: tuple[str, ...]
    files: tuple[File, ...]

    @property
    def children(self) -> int:
        """Files and subdirectories."""
        return len(self.files) + len(self.subdirectories)


@attrs.frozen
class Tree:
    """
    A tree on the disk.

    Attributes:
        root: absolute path.
        files, directories: how many; the root is not counted.
        top: number of names in the root.
        remembered: (path below the root, number of children) of some directories, drawn at random.
    """

    root: str
    files: int
    directories: int
    top: int
    remembered: tuple[tuple[str, int], ...]

    @property
    def entries(self) -> int:
        """Files and directories below the root."""
        return self.files + self.directories


def plan(files: int, seed: int) -> Iterator[Directory]:
    """
    The directories of a tree with exactly ``files`` files, each after its parent; the same for the same arguments.

    Raises:
        ValueError: fewer than 20 files: the small directory alone has as many.
    """
    if files < SMALL_FILES:
        raise ValueError(f"files: {files}: at least {SMALL_FILES} are accepted")
    draw = random.Random(seed)
    parts = SMALL.split("/")
    left = files - SMALL_FILES
    waiting: deque[str] = deque()
    path = ""
    while True:
        count = min(left, _FILES_MOST, round(draw.lognormvariate(_LOG_MEAN, _LOG_SIGMA)))
        left -= count
        branches = draw.choice(_BRANCHES)
        if len(waiting) * _FILES_MEAN >= left:
            branches = 0  # those that wait are enough for the files that are left
        elif len(waiting) < 16:
            branches = max(branches, 12)  # never dies out, and the root has a handful
        names = [f"{draw.choice(_WORDS)}-{number:02d}" for number in range(branches)]
        waiting.extend(f"{path}/{name}".lstrip("/") for name in names)
        if not path:
            names += [parts[0], SCRATCH]
        yield Directory(path, tuple(names), _files(draw, count))
        if not waiting:
            break
        path = waiting.popleft()
    for depth in range(1, len(parts)):
        yield Directory("/".join(parts[:depth]), (parts[depth],), ())
    yield Directory(SMALL, (), _files(draw, SMALL_FILES))
    yield Directory(SCRATCH, (*SCRATCH_WRITTEN, SCRATCH_LOOKED), ())
    for name in (*SCRATCH_WRITTEN, SCRATCH_LOOKED):
        yield Directory(f"{SCRATCH}/{name}", (), ())


def _files(draw: random.Random, count: int) -> tuple[File, ...]:
    when = draw.randrange(_OLDEST, _NEWEST)
    found: dict[str, File] = {}
    while len(found) < count:
        name = f"{draw.choice(_WORDS)}_{draw.randrange(10**8):08d}{draw.choice(_ENDINGS)}"
        size = int(draw.lognormvariate(9, 2.5)) % (1 << 40)
        found[name] = File(name, size, (when + draw.randrange(5 * 86_400)) * 10**9 + draw.randrange(10**9))
    return tuple(found.values())


def make_tree(root: str, files: int, seed: int, progress: Callable[[int], None] = lambda count: None) -> Tree:
    """
    Make the tree that :func:`plan` describes; its files are sparse and take an inode each, no blocks.

    Args:
        root: must not exist.
        files: how many.
        seed: of the random choices.
        progress: told now and then how many files have been made since it was last told.

    Raises:
        CannotRunError: the file system has not that many inodes left.
    """
    os.mkdir(root)
    room = os.statvfs(root).f_favail
    if 0 < room < files * 1.1:
        raise CannotRunError(f"{root}: {room} inodes are free, a tree of {files} files needs more; set TMPDIR")
    draw = random.Random(seed + 1)
    remembered: list[tuple[str, int]] = []
    made = directories = top = 0
    for number, directory in enumerate(plan(files, seed)):
        folder = os.path.join(root, directory.path)
        for name in directory.subdirectories:
            os.mkdir(os.path.join(folder, name))
        for file in directory.files:
            fd = os.open(os.path.join(folder, file.name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            try:
                os.ftruncate(fd, file.size)
                os.utime(fd, ns=(file.mtime_ns, file.mtime_ns))
            finally:
                os.close(fd)
        made += len(directory.files)
        directories += len(directory.subdirectories)
        progress(len(directory.files))
        if not directory.path:
            top = directory.children
        if directory.path.startswith(SCRATCH):
            continue
        # Reservoir sampling: every directory is as likely as every other, whatever their number.
        place = number if number < _REMEMBERED else draw.randrange(number + 1)
        if place == len(remembered):
            remembered.append((directory.path, directory.children))
        elif place < _REMEMBERED:
            remembered[place] = (directory.path, directory.children)
    return Tree(root, made, directories, top, tuple(remembered))
