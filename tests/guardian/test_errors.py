"""What errors say."""

from __future__ import annotations

from fustor.guardian.errors import RefusedError, StartError, short


def test_refused_says_field_value_and_what_is_accepted() -> None:
    assert str(RefusedError("signal", 0, "1 to 64 is accepted")) == "signal = 0: 1 to 64 is accepted"


def test_start_error_carries_the_exit_code() -> None:
    error = StartError("a port is in use", 98)
    assert str(error) == "a port is in use"
    assert error.code == 98


def test_short_keeps_what_is_short_and_cuts_the_rest() -> None:
    assert short([1]) == [1]
    cut = short("x" * 1000)
    assert isinstance(cut, str)
    assert len(cut) == 201
