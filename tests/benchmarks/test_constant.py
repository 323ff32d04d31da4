"""The server of one body answers with it, whatever is asked, and ends with the measure."""

from __future__ import annotations

import os

import pytest

from benchmarks.constant import Constant
from benchmarks.web import Connection


def test_every_answer_is_the_same() -> None:
    body = bytes(range(256)) * 30
    with Constant(body) as constant:
        with Connection(constant.address, {}) as connection:
            for target in ("/", "/fs/tree?path=/x", "/"):
                answer = connection.ask(target)
                assert (answer.status, answer.body) == (200, body)
                assert answer.headers["x-fustor-state"] == "live"
        os.kill(constant.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(constant.pid, 0)
