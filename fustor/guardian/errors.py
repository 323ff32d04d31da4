"""
What the guardian says when it can't do as asked.

``protocols.errors`` is not used: the guardian imports the standard library only.
"""

from __future__ import annotations


class RefusedError(Exception):
    """
    A request or configuration that can't be carried out.

    Args:
        field: what is wrong, by its name.
        value: its value.
        accepted: what would be accepted, in words.
        errno: of the system call that failed; 0 when the asker is to blame.
    """

    def __init__(self, field: str, value: object, accepted: str, errno: int = 0) -> None:
        self.field = field
        self.value = value
        self.accepted = accepted
        self.errno = errno
        super().__init__(field, value, accepted, errno)

    def __str__(self) -> str:
        return f"{self.field} = {self.value!r}: {self.accepted}"


class StartError(Exception):
    """
    The guardian can't start.

    Args:
        reason: for people: what is wrong and what to do.
        code: exit code, see ``main``.
    """

    def __init__(self, reason: str, code: int) -> None:
        self.code = code
        super().__init__(reason)


def short(value: object) -> object:
    """A value short enough to be shown and sent."""
    shown = repr(value)
    return value if len(shown) <= 200 else shown[:200] + "…"
