"""
One codec for every message: msgpack, with limits.

On the wire a message is a map ``{"v": version, "t": kind, field: value, …}``. Unknown fields are ignored, missing ones
take their default, and a field of the wrong type is a :class:`~protocols.errors.DecodeError` that names it. File names
and paths are ``bytes`` (msgpack *bin*) everywhere; text is ``str``.

Classes become messages by :func:`message`; their field types may be ``int``, ``str``, ``bytes``, ``bool``, ``float``,
``None``, unions of these, ``tuple[X, ...]``, ``tuple[X, Y]``, ``dict[str, X]``, ``Any`` (plain data), and other classes
decorated by :func:`record`, which travel as positional arrays: a longer array than we know is cut (fields added later),
a shorter one takes defaults.

What this module does not do: compress, encrypt, or move bytes.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs
import msgpack

from protocols.errors import DecodeError, VersionError

#: Version of the protocol, in every message. Raised only when an old peer could misunderstand a message.
VERSION = 1

T = TypeVar("T")
_Check = Callable[[Any, str], Any]

_KINDS: dict[str, type] = {}
_DECODERS: dict[type, Callable[[Mapping[str, Any]], Any]] = {}
_RECORDS: dict[type, tuple[_Check, Callable[[Any], list[Any]]]] = {}


@attrs.frozen
class Limits:
    """
    Bounds of one decode.

    Attributes:
        size: bytes of the whole message.
        items: elements of any one array or map.
        text: bytes of any one string or binary.
        depth: nesting of arrays and maps; 0: whatever msgpack itself bears (a few hundred), for data whose shape is
            checked field by field anyway.
    """

    size: int = 1 << 20
    items: int = 65_536
    text: int = 1 << 20
    depth: int = 12


#: Control messages: small, from peers that are not trusted yet.
CONTROL_LIMITS = Limits()
#: Data messages: from authenticated peers and from our own processes.
DATA_LIMITS = Limits(size=64 << 20, items=4 << 20, text=32 << 20, depth=0)


def _depth_of(value: object, left: int) -> None:
    """Raise DecodeError when ``value`` nests deeper than ``left`` levels."""
    if isinstance(value, list | tuple):
        if left <= 0:
            raise DecodeError("nesting is deeper than accepted")
        for item in value:
            if isinstance(item, list | tuple | dict):
                _depth_of(item, left - 1)
    elif isinstance(value, dict):
        if left <= 0:
            raise DecodeError("nesting is deeper than accepted")
        for item in value.values():
            if isinstance(item, list | tuple | dict):
                _depth_of(item, left - 1)


def unpack(data: bytes | memoryview, limits: Limits = CONTROL_LIMITS) -> Any:
    """
    Decode one msgpack value within ``limits``; arrays become tuples.

    Raises:
        DecodeError: not msgpack, trailing bytes, an extension type, or a limit is exceeded.
    """
    if len(data) > limits.size:
        raise DecodeError(f"message of {len(data)} bytes, at most {limits.size} accepted")
    try:
        value = msgpack.unpackb(
            data,
            use_list=False,
            raw=False,
            strict_map_key=True,
            max_str_len=limits.text,
            max_bin_len=limits.text,
            max_array_len=limits.items,
            max_map_len=limits.items,
            max_ext_len=0,
        )
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise DecodeError(f"not msgpack within the limits: {error}") from None
    if limits.depth:
        _depth_of(value, limits.depth)
    return value


def pack(value: object) -> bytes:
    """Encode plain data (no message classes) as msgpack, ``bytes`` as bin."""
    return msgpack.packb(value, use_bin_type=True)  # type: ignore[no-any-return]


def _scalar(kind: type) -> _Check:
    if kind is float:

        def check_float(value: Any, field: str) -> Any:
            if type(value) is float or type(value) is int:
                return float(value)
            raise DecodeError(f"{field}: {type(value).__name__} where float is accepted")

        return check_float

    def check(value: Any, field: str) -> Any:
        # ``type is``: bool is an int to isinstance, and never to us.
        if type(value) is kind:
            return value
        raise DecodeError(f"{field}: {type(value).__name__} where {kind.__name__} is accepted")

    return check


def _any(value: Any, field: str) -> Any:
    return value


def _none(value: Any, field: str) -> Any:
    if value is not None:
        raise DecodeError(f"{field}: {type(value).__name__} where nil is accepted")
    return None


def _checker(hint: Any) -> _Check:
    """The function that checks and converts a decoded value of type ``hint``."""
    if hint is Any:
        return _any
    if hint is None or hint is type(None):
        return _none
    if hint in (int, str, bytes, bool, float):
        return _scalar(hint)
    if isinstance(hint, type) and hint in _RECORDS:
        return _RECORDS[hint][0]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        checks = [_checker(a) for a in arguments]

        def check_union(value: Any, field: str) -> Any:
            for check in checks:
                try:
                    return check(value, field)
                except DecodeError:
                    continue
            raise DecodeError(f"{field}: {type(value).__name__} is none of the accepted types")

        return check_union
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        inner = _checker(arguments[0])
        if inner is _any:
            return _scalar(tuple)

        def check_items(value: Any, field: str) -> Any:
            if type(value) is not tuple:
                raise DecodeError(f"{field}: {type(value).__name__} where an array is accepted")
            return tuple([inner(item, field) for item in value]) if value else value

        return check_items
    if origin is tuple:
        each = [_checker(a) for a in arguments]

        def check_fixed(value: Any, field: str) -> Any:
            if type(value) is not tuple or len(value) < len(each):
                raise DecodeError(f"{field}: an array of {len(each)} is accepted")
            return tuple([check(item, field) for check, item in zip(each, value, strict=False)])

        return check_fixed
    if origin is dict:
        inner = _checker(arguments[1])

        def check_map(value: Any, field: str) -> Any:
            if type(value) is not dict:
                raise DecodeError(f"{field}: {type(value).__name__} where a map is accepted")
            return {key: inner(item, f"{field}.{key}") for key, item in value.items()}

        return check_map
    raise TypeError(f"no wire form for {hint!r}")


def _plain(value: Any) -> Any:
    """Message values as data that msgpack knows: records become arrays."""
    packer = _RECORDS.get(type(value))
    if packer is not None:
        return packer[1](value)
    raise TypeError(f"{type(value).__name__} has no wire form")


@typing.dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """Class decorator: a frozen attrs class that travels inside messages as a positional array."""
    cls = attrs.frozen(cls)
    fields = attrs.fields(typing.cast(Any, cls))
    hints = typing.get_type_hints(cls)
    checks = [(f.name, _checker(hints[f.name])) for f in fields]
    required = sum(f.default is attrs.NOTHING for f in fields)
    names = tuple(f.name for f in fields)

    def check_record(value: Any, field: str) -> Any:
        if type(value) is not tuple or len(value) < required:
            raise DecodeError(f"{field}: an array of at least {required} is accepted for {cls.__name__}")
        try:
            return cls(*[check(item, name) for (name, check), item in zip(checks, value, strict=False)])
        except DecodeError as error:
            raise DecodeError(f"{field}.{error}") from None

    def to_list(value: Any) -> list[Any]:
        return [getattr(value, name) for name in names]

    _RECORDS[cls] = (check_record, to_list)
    return cls


@typing.dataclass_transform(frozen_default=True, kw_only_default=True)
def message(kind: str) -> Callable[[type[T]], type[T]]:
    """
    Class decorator: a frozen attrs class that is a message of its own.

    Args:
        kind: the value of ``t`` on the wire; unique.
    """

    def decorate(cls: type[T]) -> type[T]:
        cls = attrs.frozen(kw_only=True)(cls)
        hints = typing.get_type_hints(cls)
        fields = [
            (f.name, _checker(hints[f.name]), f.default is attrs.NOTHING) for f in attrs.fields(typing.cast(Any, cls))
        ]

        def build(value: Mapping[str, Any]) -> Any:
            found: dict[str, Any] = {}
            for name, check, needed in fields:
                if name in value:
                    found[name] = check(value[name], f"{kind}.{name}")
                elif needed:
                    raise DecodeError(f"{kind}.{name}: missing")
            try:
                return cls(**found)
            except ValueError as error:  # an attrs validator of the class
                raise DecodeError(f"{kind}: {error}") from None

        if kind in _KINDS:
            raise TypeError(f"message kind {kind!r} is taken by {_KINDS[kind].__name__}")
        _KINDS[kind] = cls
        _DECODERS[cls] = build
        cls.kind = kind  # type: ignore[attr-defined]
        cls._wire_fields = tuple(name for name, _, _ in fields)  # type: ignore[attr-defined]
        return cls

    return decorate


def encode(value: object) -> bytes:
    """
    The wire form of a message.

    Raises:
        TypeError: ``value`` is no message, or holds something without a wire form.
    """
    cls: Any = type(value)
    fields = getattr(cls, "_wire_fields", None)
    if fields is None:
        raise TypeError(f"{cls.__name__} is no message")
    plain: dict[str, Any] = {"v": VERSION, "t": cls.kind}
    for name in fields:
        plain[name] = getattr(value, name)
    # Text is for people and may hold parts of a file name; what is not Unicode in it is escaped, never an error.
    return msgpack.packb(  # type: ignore[no-any-return]
        plain, use_bin_type=True, default=_plain, unicode_errors="backslashreplace"
    )


def decode(data: bytes | memoryview, *accepted: type[T], limits: Limits = CONTROL_LIMITS) -> T:
    """
    The message in ``data``.

    Args:
        data: one frame.
        accepted: the classes that may come here; a message of another kind is an error.
        limits: bounds of the decode.

    Raises:
        DecodeError: not a message within the limits, or none of the accepted kinds.
        VersionError: a message of another protocol version.
    """
    value = unpack(data, limits)
    if type(value) is not dict:
        raise DecodeError("a message is a map")
    version = value.get("v")
    if version != VERSION:
        raise VersionError(f"protocol version {version!r}, we speak {VERSION}")
    kind = value.get("t")
    cls = _KINDS.get(kind) if type(kind) is str else None
    if cls is None or cls not in accepted:
        raise DecodeError(f"message kind {str(kind)[:40]!r} is not accepted here")
    return _DECODERS[cls](value)  # type: ignore[no-any-return]
