"""Which store a power cut may have torn."""

from __future__ import annotations

from pathlib import Path

import pytest

from fustor.treestore.errors import StoreUnusableError
from fustor.treestore.stamp import Stamp, boot_id, read_stamp, write_stamp


def test_what_an_earlier_boot_did_not_close_may_be_torn() -> None:
    assert Stamp("earlier", clean=False).torn("now")
    assert not Stamp("earlier", clean=True).torn("now")
    assert not Stamp("now", clean=False).torn("now")


def test_it_is_kept(tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert read_stamp(folder) is None
    for stamp in (Stamp(boot_id(), clean=False), Stamp("other", clean=True)):
        write_stamp(folder, stamp)
        assert read_stamp(folder) == stamp
    assert [path.name for path in tmp_path.iterdir()] == ["stamp"]


@pytest.mark.parametrize(
    "content", ["", "x", "[]", "{}", '{"boot": 1, "clean": true}', '{"boot": "", "clean": 1}', "\xff"]
)
def test_what_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "stamp").write_text(content, "latin-1")
    with pytest.raises(StoreUnusableError, match="no stamp"):
        read_stamp(str(tmp_path))


def test_a_boot_has_one_name() -> None:
    assert boot_id() == boot_id() != ""
