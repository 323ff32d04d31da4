"""Which error ends a command with which code."""

from __future__ import annotations

import pytest

from fustor.admin.exits import Exit, NotFoundError, NotRunningError, exit_code
from fustor.runtime.config import ConfigFaults
from protocols.errors import ConfigError, DecodeError, FustorError, MachineError, RequestError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MachineError("disk full"), Exit.FAILURE),
        (DecodeError("no message"), Exit.FAILURE),
        (ConfigError("a", 1, "b"), Exit.USAGE),
        (ConfigFaults((ConfigError("a", 1, "b"),)), Exit.USAGE),
        (RequestError("a", 1, "b"), Exit.USAGE),
        (NotRunningError("start it"), Exit.NOT_RUNNING),
        (NotFoundError("no such path"), Exit.NOT_FOUND),
    ],
)
def test_exit_code(error: FustorError, code: Exit) -> None:
    assert exit_code(error) is code


def test_the_codes_are_a_contract() -> None:
    assert [int(code) for code in Exit] == [0, 1, 2, 3, 4]
