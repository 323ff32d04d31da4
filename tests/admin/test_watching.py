"""Looking again and again."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from fustor.admin.processes import Held
from fustor.admin.progress import Actor, Look
from fustor.admin.watching import Observer, picture, watch

if TYPE_CHECKING:
    from tests.admin.conftest import FakeFusion


def test_what_does_not_answer_is_asked_again(fusion: FakeFusion) -> None:
    address = str(fusion.state.fusion_config()["http"])
    with Observer(fusion.state, address) as observer:
        fusion.admin["status"] = ValueError("not now")
        assert observer.look().actors is None
        fusion.admin["status"] = {"payloads": [], "agents": []}
        assert observer.look().actors == ()


def test_it_ends_with_the_process_it_watches(fusion: FakeFusion, capsys: pytest.CaptureFixture[str]) -> None:
    fusion.admin["status"] = {"payloads": [], "agents": []}
    with (
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process,
        Held(process.pid) as held,
    ):
        ender = threading.Timer(0.3, process.kill)
        ender.start()
        watch(fusion.state, str(fusion.state.fusion_config()["http"]), [held])
        ender.join()
    assert capsys.readouterr().out == "starting · 0 files in 0 directories, 0 B · lag unknown · 0 of 0 actors running\n"


def test_the_picture_has_a_row_per_actor() -> None:
    actors = (
        Actor("fusion", "view.main", "running", 5, 0, ""),
        Actor("a", "syncer.d", "backing-off", 0, 3, "signal 11"),
    )
    console = Console(width=120, no_color=True)
    with console.capture() as captured:
        console.print(picture(Look(at=0.0, phase="live", complete=True, age=0.0, actors=actors), None))
    lines = captured.get().splitlines()
    assert lines[0].startswith("live (complete) · 0 files")
    assert [line.split() for line in lines[2:]] == [
        ["fusion", "view.main", "running", "5", "0"],
        ["a", "syncer.d", "backing-off", "3", "signal", "11"],
    ]
