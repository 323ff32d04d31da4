"""Orders on a real shell with real payloads; what goes through both control actors is in ``tests/fusion``."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from fustor.runtime.audit import Audit
from fustor.runtime.performing import Executor, own_stacks
from fustor.runtime.shell import Shell
from protocols.messages import Order
from protocols.orders import FINAL, OrderPolicy, Performer
from tests.runtime.test_shell import POLICY, Stage, guardian, running, stage

__all__ = ["guardian", "stage"]


def order(number: int, what: str, payload: str = "a", **args: str) -> Order:
    return Order(
        id=f"order-{number:04d}", number=number, what=what, payload=payload, args=args, ttl_ms=60_000, role="operator"
    )


@asynccontextmanager
async def executing(shell: Shell, path: Path, seconds: float = 60.0) -> AsyncIterator[Executor]:
    audit = Audit(str(path))

    async def diagnose(order_id: str) -> dict[str, Any]:
        return {"bytes": len(order_id)}

    made = Executor(
        "here",
        Performer(frozenset(), OrderPolicy(perform_seconds=seconds)),
        shell,
        audit,
        answer=lambda order_id: None,
        diagnose=diagnose,
        log=logging.getLogger("test"),
        forbid=lambda kind, payload: "not today" if kind == "drain" else "",
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.run)
        yield made
        nursery.cancel_scope.cancel()
    audit.close()


async def outcome(executor: Executor, one: Order) -> tuple[str, str]:
    executor.take(one, 0.0)
    entry = executor.performer.entries[one.id]
    with trio.fail_after(60):
        while entry.state not in FINAL:  # noqa: ASYNC110 - other processes make it true
            await trio.sleep(0.01)
    return entry.state.value, entry.text


async def test_what_cannot_be_done_says_why(stage: Stage, tmp_path: Path) -> None:
    async with stage.shell(stage.spec("a", "crash")) as shell, executing(shell, tmp_path / "audit", 0.3) as executor:
        state, text = await outcome(executor, order(1, "resume"))
        assert state == "failed"
        assert text.startswith("not done within 0.3 s: it is")
        assert await outcome(executor, order(2, "drain")) == ("failed", "payload = 'a': not today")
        assert (await outcome(executor, order(3, "restart", "b")))[1] == "payload = 'b': one of a is accepted"
        assert await outcome(executor, order(4, "diagnose", "")) == ("done", "10 bytes")


async def test_kinds_that_do_not_need_a_second_side(stage: Stage, tmp_path: Path) -> None:
    # An exit that comes later than this after a signal is not taken for what the signal was meant for.
    policy = attrs.evolve(POLICY, stop_seconds=60.0)
    async with stage.shell(stage.spec("a"), policy=policy) as shell, executing(shell, tmp_path / "audit") as executor:
        await running(shell, "a")
        assert (await outcome(executor, order(1, "resume")))[0] == "done"
        assert await outcome(executor, order(2, "release")) == ("done", "nothing held it: it is running")
        state, text = await outcome(executor, order(3, "kill", signal="15"))
        assert (state, shell.view("a").cause) == ("done", "operator")
        assert "exit 0" in text


async def test_an_order_that_was_begun_in_an_earlier_life_is_not_done_twice(stage: Stage, tmp_path: Path) -> None:
    log = tmp_path / "audit"
    async with stage.shell(stage.spec("a")) as shell:
        await running(shell, "a")
        async with executing(shell, log) as executor:
            assert (await outcome(executor, order(1, "restart")))[0] == "done"
        # As if the outcome had not been written any more.
        log.write_text("".join(log.read_text().splitlines(keepends=True)[:1]))
        pid = shell.view("a").pid
        async with executing(shell, log) as executor:
            assert (await outcome(executor, order(1, "restart")))[0] == "done"
            assert shell.view("a").pid == pid


def test_our_own_stacks() -> None:
    assert "test_our_own_stacks" in own_stacks()
