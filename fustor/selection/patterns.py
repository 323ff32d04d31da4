"""
Which paths belong to a source: gitignore patterns and google-re2 expressions.

An entry is taken unless an ``exclude`` pattern or expression matches it; where there are ``include`` patterns or
expressions, one of them must match too, except for directories, which are always walked. Paths are matched below the
root, without a leading slash; bytes that are no UTF-8 are matched as U+FFFD.

What this module does not do: ask about the parents of what is excluded (an excluded directory is never entered), or
read ``.gitignore`` files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import re2

from fustor.runtime.config import ConfigFaults
from fustor.runtime.source import SourceConfig
from fustor.selection.gitignore import GitIgnore, parse
from protocols.errors import ConfigError

#: Whether an entry (path below the root, is it a directory) belongs to the source.
Takes = Callable[[bytes, bool], bool]


def _gitignore(field: str, lines: Sequence[str], faults: list[ConfigError]) -> GitIgnore:
    good = []
    for place, line in enumerate(lines):
        try:
            parse(line)
        except ValueError as error:
            faults.append(ConfigError(f"{field}[{place}]", line, f"a gitignore pattern is accepted ({error})"))
        else:
            good.append(line)
    return GitIgnore(good)


def compile_expression(field: str, expression: str) -> re2._Regexp[str]:
    """
    Raises:
        ConfigError: RE2 can't read it; names ``field``, and the position where RE2 tells it.
    """
    options = re2.Options()
    options.log_errors = False  # it would print them to stderr as well
    try:
        return re2.compile(expression, options)
    except re2.error as error:
        why = error.args[0]
        text = why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)
        # RE2 quotes the part that it could not read: that is the position.
        part = text.rpartition(": ")[2]
        at = expression.find(part) if part else -1
        where = f" at position {at}" if at >= 0 else ""
        accepted = f"a regular expression of RE2 is accepted ({text}{where})"
        raise ConfigError(field, expression, accepted) from None


def _expressions(field: str, sources: Sequence[str], faults: list[ConfigError]) -> list[re2._Regexp[str]]:
    compiled = []
    for place, source in enumerate(sources):
        try:
            compiled.append(compile_expression(f"{field}[{place}]", source))
        except ConfigError as error:
            faults.append(error)
    return compiled


def compile_patterns(source: SourceConfig) -> Takes | None:
    """
    The test for one source.

    Returns:
        ``takes(path, is_directory)``; None where everything is taken.

    Raises:
        ConfigFaults: patterns can't be read; names each, and the position where RE2 tells it.
    """
    if not (source.include or source.exclude or source.include_regex or source.exclude_regex):
        return None
    faults: list[ConfigError] = []
    exclude = _gitignore("exclude", source.exclude, faults)
    include = _gitignore("include", source.include, faults)
    exclude_regex = _expressions("exclude_regex", source.exclude_regex, faults)
    include_regex = _expressions("include_regex", source.include_regex, faults)
    if faults:
        raise ConfigFaults(tuple(faults))
    selective = bool(source.include or source.include_regex)

    def takes(path: bytes, is_directory: bool) -> bool:
        text = path.decode("utf-8", "replace")
        if exclude.decide(text, is_directory):
            return False
        if any(regex.search(text) for regex in exclude_regex):
            return False
        if not selective or is_directory:
            return True
        return include.covers(text, is_directory) or any(regex.search(text) for regex in include_regex)

    return takes
