"""The language of gitignore, against its manual and against git itself where there is one."""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from fustor.selection.gitignore import GitIgnore, parse


@pytest.mark.parametrize(
    ("pattern", "path", "is_directory", "matches"),
    [
        ("*.tmp", "a.tmp", False, True),
        ("*.tmp", "deep/below/a.tmp", False, True),
        ("*.tmp", "a.tmp.txt", False, False),
        ("*.tmp", ".tmp", False, True),
        ("*", "new\nline", False, True),
        ("/top", "top", False, True),
        ("/top", "deep/top", False, False),
        ("cache/", "cache", True, True),
        ("cache/", "deep/cache", True, True),
        ("cache/", "cache", False, False),
        ("a/b", "a/b", False, True),
        ("a/b", "x/a/b", False, False),
        ("a/b", "a/b/c", False, False),
        ("a/**/b", "a/b", False, True),
        ("a/**/b", "a/x/y/b", False, True),
        ("a/**/b", "a/xb", False, False),
        ("**/b", "b", False, True),
        ("**/b", "x/y/b", False, True),
        ("a/**", "a/x", False, True),
        ("a/**", "a/x/y", False, True),
        ("a/**", "a", True, False),
        ("**", "a/b", False, True),
        ("a/*", "a/x", False, True),
        ("a/*", "a/x/y", False, False),
        ("a**/b", "axx/b", False, True),
        ("a**/b", "a/x/b", False, False),
        ("?", "x", False, True),
        ("?", "ü", False, True),
        ("?", "xy", False, False),
        ("a?b", "a/b", False, False),
        ("[ab]c", "bc", False, True),
        ("[!ab]c", "bc", False, False),
        ("[^ab]c", "xc", False, True),
        ("[a-c]x", "bx", False, True),
        ("[]]x", "]x", False, True),
        ("[a\\]]x", "]x", False, True),
        ("[a-]x", "-x", False, True),
        ("a[!x]b", "a/b", False, False),
        ("a[+-9]b", "a/b", False, False),
        ("a[+-9]b", "a.b", False, True),
        ("a[+-9]b", "a5b", False, True),
        ("[[:digit:]]", "7", False, True),
        ("# comment", "# comment", False, False),
        (r"\#name", "#name", False, True),
        (r"\!name", "!name", False, True),
        (r"a\*b", "a*b", False, True),
        (r"a\*b", "axb", False, False),
        ("name ", "name", False, True),
        (r"name\ ", "name ", False, True),
        ("a+(b|c)$", "a+(b|c)$", False, True),
        ("a//b", "a/b", False, False),
    ],
)
def test_the_manual(pattern: str, path: str, is_directory: bool, matches: bool) -> None:
    assert bool(GitIgnore([pattern]).decide(path, is_directory)) is matches


def test_the_last_pattern_that_matches_decides() -> None:
    patterns = GitIgnore(["*.log", "!keep.log", "/keep.log"])
    assert patterns.decide("a.log", False) is True
    assert patterns.decide("deep/keep.log", False) is False
    assert patterns.decide("keep.log", False) is True
    assert patterns.decide("other", False) is None


def test_covers_looks_at_what_lies_above() -> None:
    patterns = GitIgnore(["docs/", "!*.tmp"])
    assert patterns.covers("docs/a/b", False)
    assert patterns.covers("x/docs/a.tmp", False)
    assert not patterns.covers("docs", False)
    assert patterns.covers("docs", True)
    assert not patterns.covers("a/b", False)


@pytest.mark.parametrize("line", ["", "   ", "#", "# anything"])
def test_lines_that_say_nothing(line: str) -> None:
    assert parse(line) is None


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("!", "names nothing"),
        ("/", "names nothing"),
        ("!/", "names nothing"),
        ("a[bc", "without its ']'"),
        ("a[b\\", "without its ']'"),
        ("a[", "without its ']'"),
        ("a[]", "without its ']'"),
        ("a[z-a]", "range z-a is empty"),
        ("a[/]", "without its ']'"),
        ("a[[:nonsense:]]", "malformed"),
        ("a\\", "escapes nothing"),
    ],
)
def test_lines_that_are_no_pattern(line: str, why: str) -> None:
    with pytest.raises(ValueError, match="(?i)" + why.replace("[", r"\[")):
        parse(line)


def test_a_pattern_that_explodes_elsewhere_does_not() -> None:
    assert GitIgnore(["*a" * 200 + "c"]).decide("a" * 255, False) is None


@pytest.mark.skipif(shutil.which("git") is None, reason="no git to compare with")
def test_as_git_does_it(tmp_path: Path) -> None:
    """Random lists of patterns on a small tree, walked as a scanner does: what is excluded is not entered."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    paths: list[tuple[str, bool]] = []
    for depth in (1, 2, 3):
        for parts in itertools.product(["a", "b", "ab"], repeat=depth):
            (tmp_path / "/".join(parts)).mkdir()
            paths.append(("/".join(parts), True))
            for name in ("f", "a.b", "-"):
                (tmp_path / "/".join(parts) / name).touch()
                paths.append(("/".join([*parts, name]), False))
    paths.sort()
    rng = random.Random(3)
    pieces = ["a", "b", "*", "**", "?", "a*", "[ab]", "[!a]", "ab", "*.b", r"\a", "[]a]", "[.-0]", "[[:alpha:]]", "f "]
    for _ in range(60):
        lines = []
        for _ in range(rng.choice([1, 2, 3])):
            body = "/".join(rng.choice(pieces) for _ in range(rng.choice([1, 1, 2, 2, 3])))
            lines.append(rng.choice(["", "", "", "!"]) + rng.choice(["", "", "/"]) + body + rng.choice(["", "", "/"]))
        (tmp_path / ".gitignore").write_text("\n".join(lines) + "\n")
        said = subprocess.run(
            ["git", "check-ignore", "--no-index", "--stdin", "-z"],
            cwd=tmp_path,
            input="\0".join(path for path, _ in paths),
            capture_output=True,
            text=True,
            check=False,
        )
        patterns = GitIgnore(lines)
        excluded: set[str] = set()
        for path, is_directory in paths:
            above = path.rpartition("/")[0]
            if above in excluded or patterns.decide(path, is_directory):
                excluded.add(path)
        assert excluded == set(said.stdout.split("\0")) - {""}, lines
