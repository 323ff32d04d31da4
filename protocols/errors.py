"""
The error tree of the project, split by who must act.

::

    FustorError
    ├── ProtocolError        the peer broke the protocol: count it, drop the message, go on
    │   ├── DecodeError      the bytes are no message within the limits
    │   └── VersionError     a message of a protocol version that we do not speak
    ├── ConfigError          whoever wrote the configuration must mend it; names field, value and what is accepted
    ├── RequestError         the request was wrong; the asker must ask differently
    ├── BundleError          a bundle can't be taken; whoever built, signed or sent it must act
    └── MachineError         this host failed us (disk, limits, permissions); its operator must act

Anything else that escapes is a bug.
"""

from __future__ import annotations


class FustorError(Exception):
    """Base of all errors raised on purpose. Never raised itself."""


class ProtocolError(FustorError):
    """The peer broke the protocol."""


class DecodeError(ProtocolError):
    """Bytes that are not a message within the limits: too big, too deep, not msgpack, a missing or mistyped field."""


class VersionError(ProtocolError):
    """A message of a protocol version that this program does not speak."""


class ConfigError(FustorError):
    """
    A configuration that can't be accepted.

    Args:
        field: dotted name of the key, as the user wrote it (``sources[0].root``).
        value: the offending value, already short enough to print.
        accepted: what would be accepted, in words.
        file: the file it stands in; empty where there is none.
    """

    def __init__(self, field: str, value: object, accepted: str, file: str = "") -> None:
        self.field = field
        self.value = value
        self.accepted = accepted
        self.file = file
        super().__init__(field, value, accepted, file)

    def __str__(self) -> str:
        where = f"{self.file}: " if self.file else ""
        return f"{where}{self.field} = {self.value!r}: {self.accepted}"


class RequestError(FustorError):
    """
    A request that can't be answered as asked.

    Args:
        field: the parameter that is wrong; empty when it is the request as a whole.
        value: its value.
        accepted: what would be accepted, in words.
    """

    def __init__(self, field: str, value: object, accepted: str) -> None:
        self.field = field
        self.value = value
        self.accepted = accepted
        super().__init__(field, value, accepted)

    def __str__(self) -> str:
        return f"{self.field} = {self.value!r}: {self.accepted}" if self.field else self.accepted


class BundleError(FustorError):
    """
    A bundle that can't be taken: damaged, not a bundle, not signed by who is trusted, expired; or one that can't be
    made of what there is. The message says what is wrong, and where.
    """


class MachineError(FustorError):
    """This host failed us: the message says what, and what its operator can do."""
