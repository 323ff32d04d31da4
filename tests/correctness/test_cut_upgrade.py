"""Death at any step of an upgrade ends in the old program or the new one, and the next life goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

from actors.courier.__main__ import CourierConfig, prepare
from actors.watcher import checkpoint
from fustor.bundle.keys import create
from fustor.bundle.unpacking import check_unpacked
from fustor.guardian import programs
from fustor.guardian.choice import Choice
from fustor.guardian.logs import Logs
from protocols.supervision import Failed
from tests.support.bench import Bench
from tests.support.bundles import ANN, bundle_in, small
from tests.support.cuts import cut
from tests.support.ground import World, world

OLD, NEW = 7, 9


def test_a_bundle_is_staged_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "release").mkdir()
    create(ANN, str(tmp_path / "ann.key"), str(tmp_path / "release" / "ann.pub"))
    file = tmp_path / "it"
    file.write_bytes(small())
    config = CourierConfig(
        digest=bundle_in(small()).digest, versions="", release_keys=str(tmp_path / "release"), file=str(file)
    )
    number = 0
    while True:
        versions = tmp_path / f"versions{number}"
        versions.mkdir()
        here = attrs.evolve(config, versions=str(versions))
        died = cut(number, partial(prepare, here, str(file)))
        if (versions / config.digest).exists():
            check_unpacked(str(versions / config.digest))
        if not died:
            break
        if not (versions / config.digest).exists():
            prepare(here, str(file))  # the next courier
        check_unpacked(str(versions / config.digest))
        assert set(os.listdir(versions)) <= {config.digest, f"{config.digest}.incoming"}
        number += 1
    assert number > 10, "nothing was cut"


async def live(state: Path, gradual: bool, act: Callable[[World], object], revision: int, outcome: str) -> None:
    """A life in which payloads take what they are given, until an attempt has come to an end."""
    async with world(state, gradual=gradual) as made, trio.open_nursery() as nursery:
        assert made.converging.side.number in (0, OLD, NEW), "it begins with neither"

        async def take() -> None:
            while True:
                made.payloads.take(*made.payloads.specs)
                act(made)
                await trio.sleep(0.01)

        def kept() -> bool:
            """It has ended, and that is on the disk."""
            file = state / "configuration.json"
            content = json.loads(file.read_text())["content"] if file.exists() else {"attempted": [0], "outcome": ""}
            return (content["attempted"][0], content["outcome"]) == (revision, outcome)

        nursery.start_soon(take)
        await made.until(kept)
        nursery.cancel_scope.cancel()


def first(made: World) -> None:
    """The old one is desired, and is good."""
    if made.converging.status().desired < 1:
        made.desire(1, str(OLD))


def good(made: World) -> None:
    """The new one is desired, and is good."""
    if made.converging.status().desired < 2 or made.converging.convergence.missing:
        made.desire(2, str(NEW))


def bad(made: World) -> None:
    """The new one is desired, and hangs whenever it runs."""
    good(made)
    spec = made.payloads.specs["a"]
    if spec.config["number"] == NEW:
        made.converging.failed("a", Failed(kind="hang", text="silent", revision=spec.revision))


@pytest.mark.parametrize("gradual", [False, True], ids=["at once", "one after the other"])
@pytest.mark.parametrize(("act", "outcome"), [(good, "good"), (bad, "failed")], ids=["good", "bad"])
def test_what_is_desired_survives(tmp_path: Path, gradual: bool, act: Callable[[World], object], outcome: str) -> None:
    before = tmp_path / "before"
    before.mkdir()
    trio.run(live, before, gradual, first, 1, "good")
    number = 0
    while True:
        state = tmp_path / str(number)
        shutil.copytree(before, state)
        second = partial(trio.run, live, state, gradual, act, 2, outcome)
        died = cut(number, second)
        if died:
            second()
        trio.run(ended, state, gradual, NEW if outcome == "good" else OLD)
        if not died:
            break
        number += 1
    assert number > 10, "nothing was cut"


async def ended(state: Path, gradual: bool, number: int) -> None:
    """The next life begins with this one."""
    async with world(state, gradual=gradual) as made:
        assert made.converging.side.number == number


def shell_in(state: Path) -> Choice:
    """What a guardian knows of the programs of its shell."""
    return Choice(str(state / "shell.json"), "", 60.0, Logs(str(state / "log"), 1 << 20))


def change_shell(state: Path, program: str, *, bad: bool) -> None:
    """A control actor changes to ``program``, and is proved or left."""
    choice = shell_in(state)
    choice.attempt("control", program, "2")
    if bad:
        choice.control_died("it hung", hung=True)
    else:
        choice.prove("control")


@pytest.mark.parametrize("bad", [False, True], ids=["good", "bad"])
def test_a_shell_begins_with_the_old_program_or_the_new(tmp_path: Path, bad: bool) -> None:
    old, new = (str(tmp_path / name) for name in ("old", "new"))
    for program in (old, new):
        (Path(program) / "fustor/guardian").mkdir(parents=True)
        Path(programs.main_of(program)).touch()
    number = 0
    while True:
        state = tmp_path / str(number)
        state.mkdir()
        shell_in(state).attempt("control", old, "1")
        shell_in(state).prove("control")
        died = cut(number, partial(change_shell, state, new, bad=bad))
        found = programs.read(str(state / "shell.json")).control
        assert found.program in (old, new)
        assert not found.trial or found.before == old, "it can be left"
        assert shell_in(state).control_program() == found.program
        if not died:
            assert found.program == (old if bad else new)
            break
        number += 1
    assert number > 1, "nothing was cut"


def test_a_watcher_leaves_everything_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "root/d").mkdir(parents=True)
    bench = Bench(str(tmp_path / "root"))
    try:
        bench.settle()
        rest = bench.core.leave()
        assert rest is not None
        number = 0
        while True:
            path = tmp_path / f"checkpoint{number}"
            died = cut(number, partial(checkpoint.write, path, rest, "n", "s", {}))
            assert path.exists() != died
            if not died:
                assert checkpoint.take(path, "n", "s")[0].number == rest.number
                break
            number += 1
        assert number > 0, "nothing was cut"
    finally:
        bench.close()
