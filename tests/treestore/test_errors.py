"""Who must act: always the operator of this host."""

from __future__ import annotations

import pytest

from fustor.treestore.errors import StoreFullError, StoreMissingError, StoreUnusableError
from protocols.errors import MachineError


@pytest.mark.parametrize("kind", [StoreFullError, StoreMissingError, StoreUnusableError])
def test_they_are_this_hosts_faults(kind: type[Exception]) -> None:
    assert issubclass(kind, MachineError)
