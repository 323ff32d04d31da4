"""What can go wrong in a benchmark, by who must act."""

from __future__ import annotations


class BenchError(Exception):
    """Base of both; the message says what happened."""


class CannotRunError(BenchError):
    """This machine can't run it as asked; the message says what is missing and what to do."""


class WrongAnswerError(BenchError):
    """The measured system answered wrongly, or not in time: its figure would be worth nothing."""
