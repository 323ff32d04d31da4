from __future__ import annotations

import pickle

import pytest

from protocols.errors import (
    BundleError,
    ConfigError,
    DecodeError,
    FustorError,
    MachineError,
    ProtocolError,
    RequestError,
    VersionError,
)


def test_the_tree() -> None:
    assert {cls.__mro__[1] for cls in (DecodeError, VersionError)} == {ProtocolError}
    assert {cls.__mro__[1] for cls in (ProtocolError, ConfigError, RequestError, BundleError, MachineError)} == {
        FustorError
    }


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConfigError("a.b", 3, "text is accepted"), "a.b = 3: text is accepted"),
        (ConfigError("a", "x", "no", file="f.toml"), "f.toml: a = 'x': no"),
        (RequestError("path", b"x", "an absolute path is accepted"), "path = b'x': an absolute path is accepted"),
        (RequestError("", None, "one question at a time"), "one question at a time"),
        (BundleError("x: damaged"), "x: damaged"),
        (MachineError("disk full"), "disk full"),
    ],
)
def test_an_error_says_what_is_wrong_and_survives_a_copy(error: FustorError, text: str) -> None:
    assert str(error) == text
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), text, vars(error))
