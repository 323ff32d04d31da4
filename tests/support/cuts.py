"""A process that dies at any one of its writes, syncs, renames and removals: a power cut, but for what is cached."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

#: What changes or orders what is on a disk.
CALLS = ("write", "fsync", "rename", "replace", "link", "unlink", "mkdir", "rmdir")


def cut(number: int, act: Callable[[], None]) -> bool:
    """
    Run ``act`` in a child that dies right before its call ``number`` (from 0) of :data:`CALLS`.

    Returns:
        Whether it died so; False when it came to its end.

    Raises:
        AssertionError: it failed.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _arm(number)
            act()
            status = 0
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        assert os.WTERMSIG(ended) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(ended) == 0, "it failed by itself"
    return False


def _arm(number: int) -> None:
    left = number

    def counting(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return call(*arguments, **named)

        return counted

    for name in CALLS:
        setattr(os, name, counting(getattr(os, name)))
