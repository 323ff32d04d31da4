"""What can be wrong with a tree store, split by what the one who opened it does about it."""

from __future__ import annotations

from protocols.errors import MachineError


class StoreMissingError(MachineError):
    """There is no store at this place (yet)."""


class StoreUnusableError(MachineError):
    """
    What is there can't be used: not a tree store, damaged, of a newer format, or torn by a power cut.

    Nothing in it can be repaired, everything in it can be had again from the agents: set it aside and begin anew.
    """


class StoreTornError(StoreUnusableError):
    """It was being written when an earlier boot ended: what is in it may be of different moments."""


class StoreFullError(MachineError):
    """The disk or the map is full: nothing of the transaction was written, the store is as before."""
