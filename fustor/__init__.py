"""Fustor: a live, honest index of large file storage. See docs/architecture.md for the parts."""

#: Version of the program, told in every login.
__version__ = "0.1.0"
