"""
How much a scanner is handed at once, by how long it takes: on storage that answers slowly less, so that what is wanted
meanwhile (a name that has changed, a look) does not wait for long behind it.

What this module does not do: measure.
"""

from __future__ import annotations

#: Portions begin with this part of the most.
_FIRST = 8
#: One that took less than this part of the seconds was too small.
_QUICK = 4


class Portion:
    """
    Args:
        most: directories or names.
        seconds: that one may take.

    Attributes:
        size: of the next one.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self.most = most
        self.seconds = seconds
        self.size = max(1, most // _FIRST)

    def took(self, seconds: float) -> None:
        """One came back after so long, the time that it waited behind others included."""
        if seconds > self.seconds:
            self.size = max(1, self.size // 2)
        elif seconds < self.seconds / _QUICK:
            self.size = min(self.most, self.size * 2)

    def adjust(self, most: int, seconds: float) -> None:
        """Other bounds from now on."""
        self.most, self.seconds = most, seconds
        self.size = min(self.size, most)
