"""Numbers, times and names for people."""

from __future__ import annotations

import pytest

from fustor.admin.text import duration, moment, printable, size


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (12_595, "12.3 KiB"),
        (5 << 30, "5.0 GiB"),
        (1 << 60, "1024.0 PiB"),
    ],
)
def test_size_changes_its_unit_at_1024(count: int, expected: str) -> None:
    assert size(count) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-1, "0.00 s"), (0.123, "0.12 s"), (42.9, "42 s"), (185, "3 min 5 s"), (7200, "2 h 0 min"), (356_400, "4 d 3 h")],
)
def test_duration_has_the_two_units_that_matter(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_a_moment_that_no_calendar_reaches_is_a_number() -> None:
    assert moment(1e18) == "1000000000000000000"
    assert moment(0).startswith(("1970-01-01", "1969-12-31"))


def test_a_name_can_not_command_the_terminal() -> None:
    assert printable("plain ü 名") == "plain ü 名"
    assert printable("a\x1b[2Jb\n") == "a\\x1b[2Jb\\n"
    assert printable("\udcff").isascii()
