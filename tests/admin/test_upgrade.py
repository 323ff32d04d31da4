"""``fustor upgrade``: which bundle is meant; the rest is in tests/correctness/test_upgrade.py."""

from __future__ import annotations

import pytest

from fustor.admin.upgrade import _whole
from protocols.errors import RequestError

KNOWN = ["ab12" + "0" * 60, "ab34" + "0" * 60]


def test_the_beginning_of_one_digest_is_enough() -> None:
    assert _whole("ab12", KNOWN) == KNOWN[0]
    assert _whole(KNOWN[1], KNOWN) == KNOWN[1]


@pytest.mark.parametrize("digest", ["ab", "ffff", "", "ab1"])
def test_anything_else_is_refused_with_what_there_is(digest: str) -> None:
    with pytest.raises(RequestError, match="ab1200"):
        _whole(digest, KNOWN)


def test_where_there_is_none_it_says_how_to_have_one() -> None:
    with pytest.raises(RequestError, match="fustor bundle push FILE"):
        _whole("ab12", [])
