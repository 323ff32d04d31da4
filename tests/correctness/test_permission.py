"""An agent that may not read everything: what it can't see is said, never taken for gone, and seen when it may."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import PATIENCE, Cluster
from tests.support.kernel import cannot_mount
from tests.support.oracle import compare, walk

pytestmark = pytest.mark.skipif(
    bool(cannot_mount()) or not shutil.which("setpriv"), reason=cannot_mount() or "needs setpriv(1)"
)

USER = 12345


def as_user(folder: Path) -> list[str]:
    """
    The beginning of a command that runs as USER. Where USER may not reach the interpreter (it lies in the home folder
    of root), it is bound to its place in a mount namespace of this command.
    """
    user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    base = Path(sys.base_prefix)
    closed = [at for at in reversed((base, *base.parents)) if not at.stat().st_mode & stat.S_IXOTH]
    if not closed:
        return user
    (folder / "python").mkdir(exist_ok=True)
    script = (
        'mount --bind "$1" "$2" && mount -t tmpfs -o mode=755 test "$3" && mkdir -p "$1" && mount --bind "$2" "$1" '
        '&& shift 3 && exec "$@"'
    )
    return ["unshare", "--mount", "sh", "-c", script, "sh", str(base), str(folder / "python"), str(closed[0]), *user]


class Unprivileged(Cluster):
    """Runs as a user who owns nothing but its folder."""

    def command(
        self, *arguments: str, check: bool = True, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*as_user(self.state.parent), sys.executable, "-P", "-m", "fustor.admin", *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE * 2,
            env={**os.environ, "FUSTOR_STATE": str(self.state), "HOME": str(self.state.parent), **(env or {})},
            cwd="/",
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # Not below pytest's own folder, which is for one user only.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = folder / "root"
        root.mkdir()
        for path in (folder, root):
            os.chown(path, USER, USER)
        made = Unprivileged(root, folder / "state", own_ports=False)
        yield made
        made.down()


@pytest.fixture
def place(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Path]:
    folder: Path = cluster.root / str(request.node.name)
    folder.mkdir()
    os.chown(folder, USER, USER)
    yield folder
    shutil.rmtree(folder)


def make(cluster: Cluster, folder: Path, mode: int) -> Path:
    """Made elsewhere and put in place when it is finished: the agent is not to see it while it is open."""
    aside = cluster.root.parent / "aside"
    (aside / "below").mkdir(parents=True)
    (aside / "file").write_bytes(b"x")
    for path in (aside, aside / "below", aside / "file"):
        os.chown(path, USER, USER)
    aside.chmod(mode)
    return aside.rename(folder)


def path_of(cluster: Cluster, folder: Path) -> bytes:
    return b"/" + os.fsencode(folder.relative_to(cluster.root))


def node(cluster: Cluster, folder: Path) -> dict[str, Any]:
    return cluster.tree(path_of(cluster, folder))


def unreadable(cluster: Cluster) -> int:
    return int(cluster.source()["counts"]["unreadable"])


def assert_right_but_below(cluster: Cluster, *folders: Path) -> None:
    """As ``assert_right``, for what can be seen."""
    cluster.settled()
    hidden = tuple(path_of(cluster, folder)[1:] + b"/" for folder in folders)
    disk = {path: entry for path, entry in walk(os.fsencode(cluster.root)).items() if not path.startswith(hidden)}
    difference = compare(disk, cluster.entries())
    assert not difference, str(difference)


@pytest.mark.parametrize("mode", [0o000, 0o111, 0o333, 0o444, 0o600], ids=oct)
def test_a_directory_that_may_not_be_read_is_there_and_says_so(cluster: Cluster, place: Path, mode: int) -> None:
    closed = make(cluster, place / "closed", mode)
    assert_right_but_below(cluster, closed)
    assert node(cluster, closed)["unreadable"] == "EACCES"
    assert unreadable(cluster) == 1
    assert "1 directories without permission" in cluster.source()["reasons"]
    # Nobody knows whether it is there.
    answer = cluster.tree(path_of(cluster, closed) + b"/file")
    assert answer["known"] is False
    closed.chmod(0o755)
    cluster.assert_right()
    assert "unreadable" not in node(cluster, closed)
    assert unreadable(cluster) == 0
    (closed / "below/live").touch()
    cluster.assert_right()


@pytest.mark.parametrize("mode", [0o000, 0o111, 0o444], ids=oct)
def test_a_directory_that_is_closed_later(cluster: Cluster, place: Path, mode: int) -> None:
    closed = make(cluster, place / "closed", 0o755)
    cluster.assert_right()
    closed.chmod(mode)
    (closed / "not to be seen").touch()
    cluster.settled()
    assert unreadable(cluster) == 1
    assert node(cluster, closed)["unreadable"] == "EACCES"
    # A directory that may be searched, but not listed, shows what made an event.
    assert cluster.tree(path_of(cluster, closed) + b"/not to be seen")["known"] is (mode == 0o111)
    closed.chmod(0o755)
    cluster.assert_right()
    assert unreadable(cluster) == 0


def test_a_closed_directory_is_renamed_and_removed(cluster: Cluster, place: Path) -> None:
    closed = make(cluster, place / "closed", 0)
    assert_right_but_below(cluster, closed)
    moved = closed.rename(place / "moved")
    assert_right_but_below(cluster, moved)
    assert unreadable(cluster) == 1
    shutil.rmtree(moved)
    cluster.assert_right()
    assert unreadable(cluster) == 0


def test_files_need_no_permission(cluster: Cluster, place: Path) -> None:
    (place / "of root").write_bytes(b"xyz")
    (place / "of root").chmod(0)
    (place / "link").symlink_to("of root")
    cluster.assert_right()
