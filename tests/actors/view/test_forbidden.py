"""Items as the shell tells them."""

from __future__ import annotations

import pytest

from actors.view.forbidden import Forbidden, item_of
from protocols.errors import ConfigError


def test_what_was_written_down_is_what_is_forbidden() -> None:
    item = item_of("local", "data", 7, 12).decode()
    forbidden = Forbidden.of([item, "local/data 7 13", "other/data 7 1"], ["local/data 6 3"])
    assert forbidden.quarantined == {("local", "data", 7): {12, 13}, ("other", "data", 7): {1}}
    assert forbidden.again == {("local", "data", 6)}


@pytest.mark.parametrize("item", ["", "data 7 1", "local/data 7", "local/data x 1", "local/data 7 1 2"])
def test_what_is_no_item_is_refused_by_its_place(item: str) -> None:
    with pytest.raises(ConfigError, match=r"quarantined\[0\]"):
        Forbidden.of([item], [])
    with pytest.raises(ConfigError, match=r"again\[0\]"):
        Forbidden.of([], [item])
