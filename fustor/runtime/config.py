"""
Plain data (from TOML, JSON or msgpack) into attrs classes, with every fault named.

Strict: nothing is converted that the user did not write. ``"5"`` is no integer, ``true`` is no number, a string is no
list, and an unknown key is a fault. An integer is accepted where a float is meant. Arrays become tuples.

The validators of a class all run, even when one has failed, and may look at other fields through ``instance``. They
raise :class:`ValueError` (its text says what is accepted) or :class:`~protocols.errors.ConfigError`. The first that
looks at a field that is missing or wrong ends the validation of its class.

What this module does not do: search for files, apply environment variables, or know any setting.
"""

from __future__ import annotations

import difflib
import errno
import math
import re
import tomllib
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs
from cattrs import Converter

from protocols.errors import ConfigError, FustorError

T = TypeVar("T")
_Hook = Callable[[Any, Any], Any]
Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]

#: Bytes; a configuration is written by people, and a bigger file is not one.
LARGEST_FILE = 4 << 20

#: Characters of a value shown in an error.
SHOWN_CHARACTERS = 80


class ConfigFaults(FustorError):  # noqa: N818 - a plural of ConfigError
    """
    All faults of one configuration.

    Args:
        faults: one or more, in the order of the fields.
    """

    def __init__(self, faults: tuple[ConfigError, ...]) -> None:
        self.faults = faults
        super().__init__(faults)

    def __str__(self) -> str:
        return "\n".join(map(str, self.faults))


class Shown(str):
    """Text that stands for a value in an error; its ``repr`` has no quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def shorten(value: object) -> object:
    """``value`` itself when its repr is short enough to print, else the beginning of the repr."""
    shown = repr(value)
    return value if len(shown) <= SHOWN_CHARACTERS else Shown(shown[: SHOWN_CHARACTERS - 1] + "…")


# -- validators ------------------------------------------------------------------------------------------------------


def between(low: float, high: float) -> Validator:
    """Validator: a finite number from ``low`` to ``high``, both included."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not (math.isfinite(value) and low <= value <= high):
            raise ConfigError(attribute.name, value, f"a number from {low:g} to {high:g} is accepted")

    return check


def matching(pattern: str, accepted: str) -> Validator:
    """Validator: the whole text matches ``pattern``; ``accepted`` says what that is, in words."""
    compiled = re.compile(pattern)

    def check(instance: object, attribute: attrs.Attribute[Any], value: str) -> None:
        if compiled.fullmatch(value) is None:
            raise ConfigError(attribute.name, shorten(value), f"{accepted} is accepted")

    return check


# -- structuring -----------------------------------------------------------------------------------------------------


def _join(prefix: str, name: str) -> str:
    """``a`` + ``b`` is ``a.b``; ``a`` + ``[0]`` is ``a[0]``."""
    return f"{prefix}{name}" if not prefix or not name or name.startswith("[") else f"{prefix}.{name}"


def _below(prefix: str, error: Exception) -> list[ConfigError]:
    """The faults in ``error``, whose field names are relative to ``prefix``."""
    if isinstance(error, ConfigFaults):
        return [ConfigError(_join(prefix, f.field), f.value, f.accepted, f.file) for f in error.faults]
    if isinstance(error, ConfigError):
        return [ConfigError(_join(prefix, error.field), shorten(error.value), error.accepted, error.file)]
    raise error


def _refuse(value: object, accepted: str) -> ConfigError:
    return ConfigError("", shorten(value), f"{accepted} is accepted")


def _scalar(kind: type, accepted: str) -> _Hook:
    def hook(value: Any, _: Any) -> Any:
        # ``type is``: bool is an int to isinstance.
        if type(value) is not kind:
            raise _refuse(value, accepted)
        return value

    return hook


def _float(value: Any, _: Any) -> float:
    if type(value) is not float and type(value) is not int:
        raise _refuse(value, "a number")
    return float(value)


def _tuple_hook(hint: Any, converter: Converter) -> _Hook:
    arguments = typing.get_args(hint)
    if len(arguments) != 2 or arguments[1] is not Ellipsis:
        raise TypeError(f"{hint!r}: only tuple[X, ...] can be configured")
    inner = arguments[0]

    def hook(value: Any, _: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise _refuse(value, "an array")
        found: list[Any] = []
        faults: list[ConfigError] = []
        for index, item in enumerate(value):
            try:
                found.append(converter.structure(item, inner))
            except (ConfigError, ConfigFaults) as error:
                faults += _below(f"[{index}]", error)
        if faults:
            raise ConfigFaults(tuple(faults))
        return tuple(found)

    return hook


def _dict_hook(hint: Any, converter: Converter) -> _Hook:
    _, inner = typing.get_args(hint)

    def hook(value: Any, _: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise _refuse(value, "a table")
        found: dict[str, Any] = {}
        faults: list[ConfigError] = []
        for key, item in value.items():
            try:
                found[converter.structure(key, str)] = converter.structure(item, inner)
            except (ConfigError, ConfigFaults) as error:
                faults += _below(str(key), error)
        if faults:
            raise ConfigFaults(tuple(faults))
        return found

    return hook


def _unknown(key: object, value: object, known: list[str]) -> ConfigError:
    near = difflib.get_close_matches(str(key), known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return ConfigError(str(key), shorten(value), f"unknown key; {hint}accepted: {', '.join(known) or 'none'}")


def _validate(bare: Any, field: attrs.Attribute[Any]) -> list[ConfigError]:
    """What the validator of ``field`` says."""
    if field.validator is None:
        return []
    value = getattr(bare, field.name)
    try:
        field.validator(bare, field, value)
    except (ConfigError, ConfigFaults) as error:
        return _below("", error)
    except (ValueError, TypeError) as error:
        return [ConfigError(field.alias or field.name, shorten(value), str(error))]
    return []


def _class_hook(cls: Any, converter: Converter) -> _Hook:
    hints = typing.get_type_hints(cls)
    fields = [f for f in attrs.fields(cls) if f.init]
    known = [f.alias for f in fields]

    def hook(data: Any, _: Any) -> Any:
        if not isinstance(data, Mapping):
            raise _refuse(data, "a table")
        found: dict[str, Any] = {}
        faults: list[ConfigError] = []
        for field in fields:
            if field.alias in data:
                try:
                    found[field.alias] = converter.structure(data[field.alias], hints[field.name])
                except (ConfigError, ConfigFaults) as error:
                    faults += _below(field.alias, error)
            elif field.default is attrs.NOTHING:
                faults.append(ConfigError(field.alias, Shown("(missing)"), "it is required"))
        faults += [_unknown(key, data[key], known) for key in data if key not in known]
        # An instance as the validators will see it, but without the stop at the first of them that fails.
        bare = cls.__new__(cls)
        for field in fields:
            if field.alias in found:
                object.__setattr__(bare, field.name, found[field.alias])
        try:
            for field in fields:
                if field.alias not in data and field.default is not attrs.NOTHING:
                    object.__setattr__(bare, field.name, _default(bare, field))
            for field in fields:
                if field.alias in found:
                    faults += _validate(bare, field)
        except AttributeError:
            if not faults:
                raise
            # A default or a validator looked at a field that is missing or wrong, which is told already.
        if faults:
            raise ConfigFaults(tuple(faults))
        try:
            return cls(**found)
        except ValueError as error:  # of __attrs_post_init__
            raise ConfigError("", shorten(data), str(error)) from None

    return hook


def _default(bare: object, field: attrs.Attribute[Any]) -> Any:
    default: Any = field.default
    if not isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return default
    return default.factory(bare) if default.takes_self else default.factory()


def _is_tuple(hint: Any) -> bool:
    return typing.get_origin(hint) is tuple


def _is_dict(hint: Any) -> bool:
    return typing.get_origin(hint) is dict


def _make_converter() -> Converter:
    converter = Converter()
    for kind, accepted in ((int, "an integer"), (str, "text"), (bool, "true or false"), (bytes, "binary")):
        converter.register_structure_hook(kind, _scalar(kind, accepted))
    converter.register_structure_hook(float, _float)
    factories: list[tuple[Callable[[Any], bool], Callable[[Any, Converter], _Hook]]] = [
        (_is_tuple, _tuple_hook),
        (_is_dict, _dict_hook),
        (attrs.has, _class_hook),
    ]
    for predicate, factory in factories:
        converter.register_structure_hook_factory(predicate, factory)
    return converter


_CONVERTER = _make_converter()


def structure(cls: type[T], data: object, *, file: str = "", prefix: str = "") -> T:
    """
    An instance of attrs class ``cls`` made of ``data``.

    Field types may be ``int``, ``str``, ``bool``, ``float``, ``bytes``, ``X | None``, ``tuple[X, ...]``,
    ``dict[str, X]``, ``Any``, and other attrs classes.

    Args:
        cls: an attrs class with type hints.
        data: a mapping, as a parser of TOML, JSON or msgpack gave it.
        file: named in each fault.
        prefix: dotted name of the place of ``data`` in the whole configuration (``sources[0]``).

    Raises:
        ConfigFaults: all that is wrong with it.
    """
    try:
        return _CONVERTER.structure(data, cls)
    except (ConfigError, ConfigFaults) as error:
        faults = _below(prefix, error)
        raise ConfigFaults(
            tuple(ConfigError(f.field or "(top)", f.value, f.accepted, f.file or file) for f in faults)
        ) from None


def is_exhausted(error: BaseException) -> bool:
    """Whether a file could not be read for want of descriptors or memory (open(2)), which says nothing of the file."""
    number = error.errno if isinstance(error, OSError) else getattr(error.__cause__, "errno", None)
    return number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def read_toml(path: str) -> dict[str, Any]:
    """
    The tables of a TOML file of at most :data:`LARGEST_FILE` bytes.

    Raises:
        ConfigError: the file can't be read (its cause says why), is too big or is not TOML; names the file, and the
            line where there is one.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError("(file)", Shown(path), f"it can't be read: {error.strerror}") from error
    if len(content) > LARGEST_FILE:
        raise ConfigError("(file)", Shown(path), f"at most {LARGEST_FILE} bytes are accepted")
    try:
        return tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("(file)", Shown(path), f"it is not TOML: {error}") from None
