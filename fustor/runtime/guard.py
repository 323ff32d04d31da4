"""
Behind a guard, a task that fails is logged, counted and started again, and its siblings never notice.

A trio nursery cancels everything when one child fails; a control actor must not. What this module does not do: catch
cancellation, or what ends the process on purpose.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, MutableMapping

import trio

from protocols.restart import Backoff, BackoffPolicy

#: Pauses before a failed task is started again.
GUARD_POLICY = BackoffPolicy(first_seconds=0.1, cap_seconds=10.0, jitter=0.25, stable_seconds=30.0)


async def guarded(
    task: Callable[[], Awaitable[None]],
    *,
    name: str,
    log: logging.Logger,
    failures: MutableMapping[str, int],
    fatal: tuple[type[Exception], ...] = (),
    policy: BackoffPolicy = GUARD_POLICY,
    rng: random.Random | None = None,
) -> None:
    """
    Run ``task`` until it returns.

    Args:
        task: started again whenever it raises.
        name: for the log, and the key in ``failures``.
        log: where failures go, with their traceback.
        failures: counts by name.
        fatal: errors that pass through, alone or in a group: nothing here can mend them.
        policy: pauses between starts.
        rng: for their jitter.
    """
    backoff = Backoff(policy, rng or random.Random())
    while True:
        began = trio.current_time()
        try:
            await task()
            return
        except Exception as error:
            if fatal and _holds(error, fatal):
                raise
            failures[name] = failures.get(name, 0) + 1
            pause = backoff.failed(trio.current_time() - began)
            log.exception("task failed", extra={"task": name, "again_in": f"{pause:.2f}"})
        await trio.sleep(pause)


def _holds(error: BaseException, fatal: tuple[type[Exception], ...]) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_holds(inner, fatal) for inner in error.exceptions)
    return isinstance(error, fatal)
