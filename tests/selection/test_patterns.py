"""Which paths belong to a source."""

from __future__ import annotations

import pytest

from fustor.runtime.config import ConfigFaults
from fustor.runtime.source import SourceConfig
from fustor.selection.patterns import Takes, compile_patterns


def source(**patterns: tuple[str, ...]) -> SourceConfig:
    return SourceConfig(name="data", root="/srv", **patterns)  # type: ignore[arg-type]


def takes(**patterns: tuple[str, ...]) -> Takes:
    compiled = compile_patterns(source(**patterns))
    assert compiled is not None
    return compiled


def test_without_patterns_there_is_no_test() -> None:
    assert compile_patterns(source()) is None


def test_include_leaves_directories_alone() -> None:
    """Something that is wanted may lie below any of them."""
    test = takes(include=("*.h5",))
    assert test(b"deep", True)
    assert test(b"deep/a.h5", False)
    assert not test(b"deep/a.txt", False)


def test_included_directories_bring_what_is_below() -> None:
    test = takes(include=("docs/",))
    assert test(b"docs/a/b.txt", False)
    assert not test(b"other/b.txt", False)


def test_the_last_pattern_decides() -> None:
    test = takes(exclude=("*.log", "!keep.log"))
    assert not test(b"a.log", False)
    assert test(b"deep/keep.log", False)


def test_exclude_outranks_include() -> None:
    test = takes(include=("*.h5",), exclude=("tmp/",))
    assert not test(b"tmp", True)
    assert not takes(include=("*.h5",), exclude=("a.*",))(b"x/a.h5", False)


def test_expressions_are_searched_in_the_path_below_the_root() -> None:
    assert not takes(exclude_regex=("b/c$",))(b"a/b/c", False)
    assert takes(exclude_regex=("^b",))(b"a/b/c", False)
    test = takes(include_regex=(r"^run\d+/",))
    assert test(b"run17/x", False)
    assert test(b"other", True)
    assert not test(b"other/x", False)


def test_expressions_and_patterns_are_alternatives_of_each_other() -> None:
    test = takes(include=("*.h5",), include_regex=(r"^notes/",))
    assert test(b"a.h5", False)
    assert test(b"notes/a.txt", False)
    assert not test(b"a.txt", False)
    test = takes(exclude=("*.tmp",), exclude_regex=("^old/",))
    assert not test(b"old/x", False)
    assert not test(b"x.tmp", False)
    assert test(b"x", False)


def test_names_that_are_no_utf8_are_matched_by_the_replacement_character() -> None:
    assert not takes(exclude=("a*b",))(b"a\xff\xfeb", False)
    assert not takes(exclude=("\N{REPLACEMENT CHARACTER}",))(b"\xff", False)
    assert not takes(exclude_regex=("^\N{REPLACEMENT CHARACTER}$",))(b"\xff", False)
    assert not takes(exclude=("ünï",))("ünï".encode(), False)


@pytest.mark.parametrize("name", [b"new\nline", b"tab\t", b'quo"te', b"back\\slash", b"\x01", b"x" * 255])
def test_any_name_can_be_asked(name: bytes) -> None:
    assert takes(exclude=("nothing",), exclude_regex=("^nothing$",))(b"a/" + name, False)
    assert not takes(exclude=("*",))(name, False)


def test_an_expression_that_explodes_elsewhere_does_not() -> None:
    """RE2 takes time linear in the text; a backtracking engine would not return from this."""
    assert takes(exclude_regex=("^(a+)+$",))(b"a" * 4000 + b"b", False)


@pytest.mark.parametrize(
    ("expression", "position", "why"),
    [
        ("abc(def", 0, "missing )"),
        ("ab[cd", 2, "missing ]"),
        ("ab*cd**", 5, "bad repetition operator"),
        (r"abc\8", 3, "invalid escape sequence"),
        ("(?=look)", 0, "invalid perl operator"),
        (r"(a)\1", 3, "invalid escape sequence"),
        ("a{2,1}", 1, "invalid repetition size"),
    ],
)
@pytest.mark.parametrize("field", ["include_regex", "exclude_regex"])
def test_a_bad_expression_is_named_with_its_position(field: str, expression: str, position: int, why: str) -> None:
    with pytest.raises(ConfigFaults) as caught:
        compile_patterns(source(**{field: ("fine", expression)}))
    text = str(caught.value)
    assert text.startswith(f"{field}[1] = {expression!r}")
    assert why in text
    assert f"at position {position}" in text


def test_a_bad_gitignore_pattern_is_named() -> None:
    with pytest.raises(ConfigFaults, match=r"^include\[1\] = '!': a gitignore pattern is accepted"):
        compile_patterns(source(include=("fine", "!")))


def test_every_fault_is_named() -> None:
    with pytest.raises(ConfigFaults) as caught:
        compile_patterns(source(exclude=("!", "fine", "!"), include_regex=("(", "a", "*")))
    assert [fault.field for fault in caught.value.faults] == [
        "exclude[0]",
        "exclude[2]",
        "include_regex[0]",
        "include_regex[2]",
    ]
