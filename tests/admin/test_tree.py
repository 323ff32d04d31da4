"""``fustor tree``: drawn, and as it comes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.console import Console

from fustor.admin.tree import draw

if TYPE_CHECKING:
    from tests.admin.conftest import FakeFusion

Run = Callable[..., subprocess.CompletedProcess[str]]


def node(path: str, kind: str = "file", **more: Any) -> dict[str, Any]:
    return {
        "name": path.rpartition("/")[2],
        "content_type": kind,
        "path": path,
        "size": 2048,
        "modified_time": 0.0,
        **more,
    }


ROOT = node(
    "/",
    "directory",
    state="live",
    complete=True,
    age=0.5,
    sources=[],
    children=[
        node("/b"),
        node("/evil\x1b[2J"),
        node("/link", "symlink", target="b"),
        node("/pipe", "fifo"),
        node("/a", "directory", unreadable=True, children=[node("/a/c")]),
    ],
)


def drawn(entries: int) -> list[str]:
    console = Console(width=100, no_color=True)
    with console.capture() as captured:
        console.print(draw(ROOT, entries))
    return captured.get().splitlines()


def test_directories_come_first_and_nothing_commands_the_terminal() -> None:
    lines = drawn(100)
    starts = ["/  ", "├── a/  unreadable  ", "│   └── c  2.0 KiB  ", "├── b  2.0 KiB  ", "├── evil\\x1b[2J  2.0 KiB  "]
    starts += ["├── link → b  symlink  ", "└── pipe  fifo  "]
    assert [line.startswith(start) for line, start in zip(lines, starts, strict=True)] == [True] * 7


def test_what_is_left_out_is_counted() -> None:
    assert drawn(2)[-1] == "└── … 3 more"


def test_depth_is_asked_for(fusion: FakeFusion, run_fustor: Run) -> None:
    fusion.tree = lambda request: (200, {}, [json.dumps(ROOT).encode()])
    done = run_fustor("tree", "/", "--state", str(fusion.state.folder), "--depth", "3")
    assert (done.returncode, fusion.asked[-1].params) == (0, {"max_depth": "3"})
    assert "├── a/" in done.stdout
    assert done.stderr == "live, complete; as of 0.50 s ago\n"


def test_json_is_the_answer_itself(fusion: FakeFusion, run_fustor: Run) -> None:
    fusion.tree = lambda request: (200, {}, [json.dumps(ROOT).encode()])
    done = run_fustor("tree", "/x", "--json", "--all", "--view", "v", FUSTOR_STATE=str(fusion.state.folder))
    assert json.loads(done.stdout) == ROOT
    assert (fusion.asked[-1].params, fusion.asked[-1].view, fusion.asked[-1].path) == ({}, "v", b"/x")


def test_exit_codes(fusion: FakeFusion, run_fustor: Run) -> None:
    fusion.tree = lambda request: (404, {}, [b'{"error": "no such path"}'])
    state = ("--state", str(fusion.state.folder))
    missing = run_fustor("tree", "/x/y", *state)
    assert (missing.returncode, missing.stderr) == (4, "fustor: /x/y: no such path. What is there: fustor tree /x\n")
    assert run_fustor("tree", "/", "--all", *state).returncode == 2
    assert run_fustor("tree", "/", "--depth", "-1", *state).returncode == 2
    assert run_fustor("tree", "/", "--state", str(fusion.state.folder / "none")).returncode == 3
