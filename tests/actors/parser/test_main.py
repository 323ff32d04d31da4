"""A real parser process; the test plays the watcher and the control actor."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import zmq

from fustor.runtime.mesh import MeshSocket
from fustor.runtime.sockets import open_socket
from protocols.codec import DATA_LIMITS, decode, encode
from protocols.parsing import Parsed, ParserDir, ParserHello, ParserWork
from tests.support.actors import Actors, actors_in, check_config, until

NAME = "parser.data.one"
WHOLE = ParserDir(1, b"", None)


@attrs.define
class Bench:
    """A watcher's two sockets, and what comes in."""

    actors: Actors
    root: Path
    state: Path
    found: MeshSocket
    works: MeshSocket
    hello: ParserHello | None = None
    parsed: list[Parsed] = attrs.Factory(list)
    number: int = 0

    def config(self, **more: Any) -> dict[str, Any]:
        parser = {"name": "one", "path": r"\.json$", "format": "json", **more.pop("parser", {})}
        return {"source": {"name": "data", "root": str(self.root)}, "parser": parser, "state": str(self.state), **more}

    async def start(self, **more: Any) -> None:
        self.actors.start(NAME, "actors.parser", self.config(**more))
        await self.greeted()

    async def greeted(self) -> None:
        before = self.hello.incarnation if self.hello else ""
        await until(lambda: self.hello is not None and self.hello.incarnation != before)

    async def hear(self) -> None:
        """What the parser says."""
        while True:
            message: object = decode((await self.found.receive())[0], ParserHello, Parsed, limits=DATA_LIMITS)
            if isinstance(message, ParserHello):
                self.hello = message
            elif isinstance(message, Parsed):
                self.parsed.append(message)

    async def give(self, *dirs: ParserDir, epoch: int = 1, number: int = 0) -> None:
        assert self.hello is not None
        self.number = number or self.number + 1
        work = ParserWork(incarnation=self.hello.incarnation, epoch=epoch, number=self.number, dirs=dirs)
        await self.works.send([encode(work)])

    async def look(self, *dirs: ParserDir, epoch: int = 1, number: int = 0) -> dict[str, Any]:
        """Name → attributes, of what is found in directories."""
        self.parsed.clear()
        await self.give(*dirs, epoch=epoch, number=number)
        await until(lambda: any(one.last and one.number == self.number for one in self.parsed))
        assert all((one.parser, one.epoch, one.number) == ("one", epoch, self.number) for one in self.parsed)
        return {
            entry[0].decode(): json.loads(entry[-1])
            for one in self.parsed
            for part in one.parts
            for entry in part.found
        }


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    run, root, state = tmp_path / "run", tmp_path / "root", tmp_path / "state"
    for folder in (run, root, state):
        folder.mkdir()
    monkeypatch.chdir(run)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    found = MeshSocket(open_socket(context, zmq.PULL, bind="ipc://found.data", hwm=16))
    works = MeshSocket(open_socket(context, zmq.PUSH, bind="ipc://parse.data.one", hwm=16))
    try:
        async with actors_in(run) as actors, trio.open_nursery() as nursery:
            made = Bench(actors, root, state, found, works)
            nursery.start_soon(made.hear)
            yield made
            nursery.cancel_scope.cancel()
    finally:
        for one in (found, works):
            one.close()
        context.term()


async def test_it_does_what_it_is_given(bench: Bench) -> None:
    (bench.root / "a.json").write_text("[1]")
    (bench.root / "d").mkdir()
    (bench.root / "d/b.json").write_text("{}")
    await bench.start()
    found = await bench.look(WHOLE, ParserDir(2, b"d", None), ParserDir(3, b"gone", None))
    assert {name: value["type"] for name, value in found.items()} == {"a.json": "array", "b.json": "object"}
    await until(lambda: bench.actors.beats[NAME].counters.get("directories") == 2)
    assert bench.hello is not None
    await until(lambda: bench.hello is not None and (bench.hello.epoch, bench.hello.taken) == (1, 1))


async def test_what_it_has_done_it_does_not_again_and_a_new_epoch_counts_anew(bench: Bench) -> None:
    await bench.start()
    await bench.look(WHOLE, number=7)
    await bench.give(WHOLE, number=7)
    await bench.give(WHOLE, number=3)
    assert await bench.look(WHOLE, epoch=2, number=1) == {}


async def test_only_the_thread_that_reads_files_gives_way_to_others(bench: Bench) -> None:
    pid = bench.actors.start(NAME, "actors.parser", bench.config(limits={"nice": 7}))
    await bench.greeted()
    tasks = map(int, os.listdir(f"/proc/{pid}/task"))
    nice = {task: os.getpriority(os.PRIO_PROCESS, task) for task in tasks}
    assert nice.pop(pid) == 7
    assert set(nice.values()) == {os.getpriority(os.PRIO_PROCESS, 0)}


async def test_what_is_for_another_or_no_message_is_passed_over(bench: Bench) -> None:
    await bench.start()
    await bench.works.send([b"no message"])
    await bench.works.send([encode(ParserWork(incarnation="another", epoch=9, number=9, dirs=(WHOLE,)))])
    assert await bench.look(WHOLE) == {}
    assert "work refused" in bench.actors.log(NAME)


async def test_a_successor_knows_what_was_read_and_says_the_same_rules(bench: Bench) -> None:
    (bench.root / "a.json").write_text("[1]")
    await bench.start()
    first = await bench.look(WHOLE)
    assert bench.hello is not None
    rules = bench.hello.rules
    bench.actors.kill(NAME)
    await bench.start()
    assert await bench.look(WHOLE) == first
    await until(lambda: bench.actors.beats[NAME].counters.get("kept") == 1)
    assert bench.hello.rules == rules
    assert bench.actors.kill(NAME, signal.SIGTERM) == 0


@pytest.mark.parametrize("change", [{"parser": {"path": "a"}}, {"deny": {"uids": [1]}}, {"again": ["/a.json"]}])
async def test_what_decides_what_is_found_makes_other_rules(bench: Bench, change: dict[str, Any]) -> None:
    await bench.start()
    assert bench.hello is not None
    rules = bench.hello.rules
    bench.actors.configure(NAME, bench.config(**change))
    await bench.greeted()
    assert bench.hello.rules != rules
    await bench.actors.running(NAME)


def test_a_bad_rule_is_refused_by_name(tmp_path: Path) -> None:
    config = {"source": {"name": "data", "root": "/"}, "state": str(tmp_path), "parser": {"name": "one", "path": "("}}
    done = check_config("actors.parser", config)
    assert done.returncode == 2
    assert "path" in done.stdout
    config["parser"] = {"name": "one", "format": "table", "options": {"seperator": ";"}}
    done = check_config("actors.parser", config)
    assert done.returncode == 2
    assert "options.seperator" in done.stdout
    assert "delimiter, header, most_bytes" in done.stdout
