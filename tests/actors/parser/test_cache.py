"""What was read is known again, as long as the file and the rules are the same; whatever happens to it, nobody dies."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from actors.parser.cache import Cache

LOG = logging.getLogger("test")
FILE = (5, 1_700_000_000_000_000_000, -1, 1 << 63)


def opened(folder: Path, rules: str = "rules", most: int = 1 << 20) -> Cache:
    return Cache(str(folder / "cache"), rules, most, LOG)


def test_it_outlives_its_process(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    assert cache.get(FILE) is None
    cache.put(FILE, b'{"a":1}')
    assert cache.get(FILE) == b'{"a":1}'
    cache.commit()
    cache.close()
    again = opened(tmp_path)
    assert again.get(FILE) == b'{"a":1}'
    again.close()


@pytest.mark.parametrize("at", range(3))
def test_another_size_or_time_is_another_file(tmp_path: Path, at: int) -> None:
    cache = opened(tmp_path)
    cache.put(FILE, b"{}")
    cache.commit()
    other = list(FILE)
    other[at] += 1
    assert cache.get((other[0], other[1], other[2], other[3])) is None
    cache.close()


def test_other_rules_begin_anew(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    cache.put(FILE, b"{}")
    cache.commit()
    cache.close()
    cache = opened(tmp_path, "others")
    assert cache.get(FILE) is None
    cache.close()


def test_what_is_damaged_begins_anew(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    cache.put(FILE, b"{}")
    cache.commit()
    cache.close()
    (tmp_path / "cache/data.mdb").write_bytes(b"damaged" * 10_000)
    cache = opened(tmp_path)
    assert cache.get(FILE) is None
    cache.put(FILE, b"{}")
    cache.commit()
    assert cache.get(FILE) == b"{}"
    cache.close()


def test_a_full_one_begins_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = opened(tmp_path)
    for number in range(400):
        cache.put((1, 2, 3, number), b"x" * 10_000)
        cache.commit()
    assert "forgotten" in caplog.text
    assert cache.get((1, 2, 3, 0)) is None
    cache.put(FILE, b"{}")
    cache.commit()
    assert cache.get(FILE) == b"{}"
    cache.close()


def test_without_a_folder_nothing_is_kept_and_nobody_dies(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    cache = opened(tmp_path)
    cache.put(FILE, b"{}")
    cache.commit()
    assert cache.get(FILE) is None
    cache.close()
