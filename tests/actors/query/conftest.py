"""A site with a small tree, for the tests of questions and answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.actors.query.model import Build
from tests.actors.query.site import TREE, UNLISTED, Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    path = str(tmp_path / "store")
    Build(path).write(TREE, unlisted=UNLISTED)
    found = Site(path)
    yield found
    found.stores.close()
