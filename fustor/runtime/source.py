"""
What a source is: the part of a file tree that an agent watches.

Patterns are kept as written: the actors that use them compile them, for the pattern libraries belong to the data plane.
"""

from __future__ import annotations

from typing import Any

import attrs

from fustor.runtime import checks
from fustor.runtime.config import ConfigFaults, between, matching, shorten
from protocols.errors import ConfigError

#: Names become parts of file names, socket names and actor names, hence no dot, no slash, and short.
NAME = matching(
    r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}",
    "a name of 1 to 32 letters, digits, '-' and '_' that begins with a letter or digit",
)

#: Scanner processes of one source.
MAX_SCANNERS = 64
#: Upper bound of an audit period: one year.
MAX_AUDIT_SECONDS = 366 * 86_400


def check_absolute(field: str, path: str) -> None:
    """
    Raises:
        ConfigError: ``path`` is no absolute path, or has ``.`` or ``..`` in it.
    """
    if not path.startswith("/") or "\0" in path or not {".", ".."}.isdisjoint(path.split("/")):
        raise ConfigError(field, path, "an absolute path without '.' and '..' is accepted")


def _check_root(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    check_absolute(attribute.name, value)


def _check_patterns(instance: object, attribute: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    faults = tuple(
        ConfigError(f"{attribute.name}[{index}]", shorten(pattern), "a pattern on one line is accepted")
        for index, pattern in enumerate(value)
        if not pattern or "\0" in pattern or "\n" in pattern
    )
    if faults:
        raise ConfigFaults(faults)


_FORMAT = matching(r"([a-z][a-z0-9_]{0,31})?", "a name of up to 32 small letters, digits and '_', or nothing,")
#: Parsers of one source: each is a process.
MOST_PARSERS = 16


def _check_options(instance: object, attribute: attrs.Attribute[Any], value: dict[str, Any]) -> None:
    for key, option in value.items():
        if not isinstance(option, str | int | float):  # a truth value is an int
            accepted = "a text, a number or a truth value is accepted"
            raise ConfigError(f"{attribute.name}.{key}", shorten(str(option)), accepted)


@attrs.frozen(kw_only=True)
class ParserConfig:
    """
    One parser of a source: what is to be found in which of its files, see docs/parsers.md.

    Attributes:
        name: unique within the source; what it finds is called ``<name>.<key>``.
        path: RE2 expression, searched in the path below the root: the files that it is for. Its named groups are found.
        format: what reads the files: ``json``, ``table``, ``archive``, ``mime``, or a plug-in; empty: nothing does.
        file_bytes: larger files are not read; 0 for none.
        options: of the format.
    """

    name: str = attrs.field(validator=NAME)
    path: str = ""
    format: str = attrs.field(default="", validator=_FORMAT)
    file_bytes: int = attrs.field(default=1 << 30, validator=between(0, 1 << 62))
    options: dict[str, Any] = attrs.field(factory=dict, validator=_check_options)


def _check_parsers(instance: object, attribute: attrs.Attribute[Any], value: tuple[ParserConfig, ...]) -> None:
    if len(value) > MOST_PARSERS:
        raise ConfigError(attribute.name, len(value), f"at most {MOST_PARSERS} parsers are accepted")
    checks.distinct(attribute.name, [parser.name for parser in value], "names of parsers")


@attrs.frozen(kw_only=True)
class SourceConfig:
    """
    One source of an agent.

    Attributes:
        name: unique within the agent.
        root: absolute path of the directory at the top.
        include: gitignore patterns of what is indexed; empty for everything. Directories are always walked.
        exclude: gitignore patterns of what is not.
        include_regex, exclude_regex: the same as RE2 expressions, searched in the path below the root.
        one_filesystem: do not enter directories on another device than the root's.
        scanners: processes that list directories, 1 to 64.
        fast_audit_seconds: period of the pass by directory times, 0.1 s to a year.
        full_audit_seconds: period in which everything is looked at again, 0.1 s to a year.
        parsers: what is to be found in its files, beside their metadata.
    """

    name: str = attrs.field(validator=NAME)
    root: str = attrs.field(validator=_check_root)
    include: tuple[str, ...] = attrs.field(default=(), validator=_check_patterns)
    exclude: tuple[str, ...] = attrs.field(default=(), validator=_check_patterns)
    include_regex: tuple[str, ...] = attrs.field(default=(), validator=_check_patterns)
    exclude_regex: tuple[str, ...] = attrs.field(default=(), validator=_check_patterns)
    one_filesystem: bool = True
    scanners: int = attrs.field(default=2, validator=between(1, MAX_SCANNERS))
    fast_audit_seconds: float = attrs.field(default=600.0, validator=between(0.1, MAX_AUDIT_SECONDS))
    full_audit_seconds: float = attrs.field(default=86_400.0, validator=between(0.1, MAX_AUDIT_SECONDS))
    parsers: tuple[ParserConfig, ...] = attrs.field(default=(), validator=_check_parsers)


def told(source: SourceConfig) -> dict[str, Any]:
    """What actors are told of a source as a whole: all but its parsers, each of which is told of itself."""
    return attrs.asdict(source, filter=lambda attribute, _: attribute.name != "parsers")
