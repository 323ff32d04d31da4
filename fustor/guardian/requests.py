"""
Requests of the control actor, checked field by field. Pure: carries nothing out.
"""

from __future__ import annotations

import json
import re

from fustor.guardian.config import argv, environment
from fustor.guardian.errors import RefusedError
from fustor.guardian.programs import PARTS

#: A name is part of a log file's name, an environment variable and, in run/, of socket paths.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_TAKEN = ("guardian", "control")
#: Characters of a path (PATH_MAX of limits.h) or a reason.
_MOST_WORDS = 4096


class Spawn:
    """A checked ``spawn``: argv and env encoded for exec, fds names of listening sockets, data_bytes 0 for no limit."""

    __slots__ = ("argv", "data_bytes", "env", "fds", "name", "token")

    def __init__(self, fields: dict[str, object]) -> None:
        """
        Raises:
            RefusedError: a field is missing, unknown or not accepted.
        """
        _only(fields, ("name", "argv", "env", "fds", "token", "data_bytes"))
        self.name = name(fields)
        if self.name in _TAKEN:
            raise RefusedError("name", self.name, f"any name except {', '.join(_TAKEN)} is accepted")
        self.argv = argv("argv", fields.get("argv"))
        self.env = environment("env", fields.get("env", {}))
        self.fds = _names("fds", fields.get("fds", []))
        self.token = _token(fields.get("token"))
        self.data_bytes = _data_bytes(fields.get("data_bytes", 0))


class Join:
    """
    A checked greeting of a process whose guardian was killed.

    Attributes:
        name, pid, token, born: of the process, as in its slot.
        fds: names of the descriptors that come with the message, in their order.
    """

    __slots__ = ("born", "fds", "name", "pid", "token")

    def __init__(self, fields: dict[str, object]) -> None:
        """
        Raises:
            RefusedError: a field is missing, unknown or not accepted.
        """
        _only(fields, ("join", "pid", "born", "token", "fds"))
        self.name = name({"name": fields.get("join")})
        self.pid = _positive("pid", fields.get("pid"))
        self.born = _positive("born", fields.get("born"))
        self.token = _token(fields.get("token"))
        self.fds = _names("fds", fields.get("fds", []))


class Keep:
    """
    A checked request of a payload to keep descriptors for the next process of its name.

    Attributes:
        name, pid, token: of the process, as in its slot.
        fds: names of the descriptors that come with the message, in their order.
    """

    __slots__ = ("fds", "name", "pid", "token")

    def __init__(self, fields: dict[str, object]) -> None:
        """
        Raises:
            RefusedError: a field is missing, unknown or not accepted.
        """
        _only(fields, ("keep", "pid", "token", "fds"))
        self.name = name({"name": fields.get("keep")})
        self.pid = _positive("pid", fields.get("pid"))
        self.token = _token(fields.get("token"))
        self.fds = _names("fds", fields.get("fds", []))


def parse(packet: bytes) -> dict[str, object]:
    """
    The object in a packet.

    Raises:
        RefusedError: it is no JSON object.
    """
    try:
        fields = json.loads(packet)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise RefusedError("request", packet[:80].decode("utf-8", "replace"), "a JSON object is accepted")
    return fields


def name(fields: dict[str, object]) -> str:
    """
    The field ``name``.

    Raises:
        RefusedError: it is no name of a slot.
    """
    value = fields.get("name")
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise RefusedError("name", value, "1 to 100 of A-Z, a-z, 0-9, '.', '_', '-' are accepted, not '.' or '-' first")
    return value


def signal_number(fields: dict[str, object]) -> int:
    """
    The field ``signal``.

    Raises:
        RefusedError: it is no number of a signal.
    """
    value = fields.get("signal")
    if type(value) is not int or not 1 <= value <= 64:
        raise RefusedError("signal", value, "1 to 64 is accepted (signal(7))")
    return value


def part(fields: dict[str, object]) -> str:
    """
    The field ``part``.

    Raises:
        RefusedError: it is none of :data:`fustor.guardian.programs.PARTS`.
    """
    value = fields.get("part")
    if not isinstance(value, str) or value not in PARTS:
        raise RefusedError("part", value, f"{' or '.join(PARTS)} is accepted")
    return value


def words(fields: dict[str, object], field: str) -> str:
    """
    A text in a field.

    Raises:
        RefusedError: it is none, has NUL in it, or more than 4096 characters.
    """
    value = fields.get(field)
    if not isinstance(value, str) or len(value) > _MOST_WORDS or "\0" in value:
        raise RefusedError(field, value, f"a text of at most {_MOST_WORDS} characters without NUL is accepted")
    return value


def _only(fields: dict[str, object], known: tuple[str, ...]) -> None:
    for key in fields:
        if key not in known:
            raise RefusedError(key, fields[key], "unknown field; accepted are " + ", ".join(known))


def _names(field: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RefusedError(field, value, "a list of names of listening sockets is accepted")
    return value


def _token(value: object) -> str:
    if not isinstance(value, str) or not value.isascii() or not value.isalnum() or len(value) > 128:
        raise RefusedError("token", value, "1 to 128 letters and digits are accepted")
    return value


def _data_bytes(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise RefusedError("data_bytes", value, "bytes for RLIMIT_DATA, 0 for none, are accepted")
    return value


def _positive(field: str, value: object) -> int:
    if type(value) is not int or value < 1:
        raise RefusedError(field, value, "a whole number from 1 on is accepted")
    return value
