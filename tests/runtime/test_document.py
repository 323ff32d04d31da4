"""Documents: what is accepted, every fault with its place, and the questions to the payloads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fustor.runtime.config import ConfigFaults
from fustor.runtime.document import MOST_BYTES, DataLimits, DataSide, check, digest_of, parse, render
from fustor.runtime.source import SourceConfig
from protocols.errors import ConfigError, FustorError

SOURCE = b'[[sources]]\nname = "data"\nroot = "/srv"\n'


def test_empty_and_absent_differ() -> None:
    assert parse(b"sources = []").sources == ()
    with pytest.raises(ConfigFaults, match=r"c.toml: sources = \(missing\): it is required"):
        parse(b"", "c.toml")


def test_what_it_does_not_say_has_its_default() -> None:
    side = parse(SOURCE + b"[limits.watcher]\nlinks = 5\n")
    assert side.sources[0].scanners == 2
    assert side.limits == DataLimits(watcher={"links": 5})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"sources = [", "it is not TOML"),
        (b"\xff", "it is not TOML"),
        (b"sources = " + b"[" * 5000, "it is not TOML"),
        (b"#" * (MOST_BYTES + 1), f"at most {MOST_BYTES} bytes are accepted"),
        (SOURCE + SOURCE, "sources = 'data': names of sources must differ"),
        (SOURCE + b"scanners = 65\n", "sources[0].scanners = 65: a number from 1 to 64"),
        (SOURCE + b'[agent]\nid = "x"\n', "agent = {'id': 'x'}: unknown key"),
        (SOURCE + b"[deny]\nuids = []\n", "deny = {'uids': []}: unknown key"),
        (SOURCE + b"[limits.shell]\nstop_seconds = 1\n", "limits.shell = {'stop_seconds': 1}: unknown key"),
    ],
)
def test_faults_are_named(text: bytes, said: str) -> None:
    with pytest.raises(FustorError) as caught:
        parse(text, "c.toml")
    assert str(caught.value).startswith("c.toml: ")
    assert said in str(caught.value)


def test_there_may_be_many_sources_and_not_too_many() -> None:
    one = '[[sources]]\nname = "s{}"\nroot = "/srv"\n'
    assert len(parse("".join(map(one.format, range(64))).encode()).sources) == 64
    with pytest.raises(ConfigFaults, match="at most 64 sources"):
        parse("".join(map(one.format, range(65))).encode())


def test_payloads_are_asked_about_what_only_they_know() -> None:
    text = SOURCE + b'exclude_regex = ["fine", "("]\n[limits.scanner]\nx = 1\n[limits.syncer]\ny = 2\n'
    faults = check(parse(text + b"[limits.watcher]\nlinks = -1\n"))
    assert [fault.split(":")[0] for fault in faults] == [
        "limits.scanner.x = 1",
        "sources[0].exclude_regex[1] = '('",
        "limits.watcher.links = -1",
        "limits.syncer.y = 2",
    ]
    assert all("accepted" in fault for fault in faults)


PARSERS = b"""
[[sources.parsers]]
name = "run"
path = '(?P<run>[0-9]+)'

[[sources.parsers]]
name = "table"
format = "table"
file_bytes = 0
options = { header = false, delimiter = ";" }
"""


def test_parsers_are_rendered_as_they_were_read() -> None:
    side = parse(SOURCE + PARSERS + b"[limits.parser]\ncache_bytes = 1048576\n")
    assert [parser.name for parser in side.sources[0].parsers] == ["run", "table"]
    assert parse(render(side).encode()) == side
    assert check(side) == []


def test_a_parser_says_what_is_wrong_and_a_bundle_may_have_the_format() -> None:
    bad = PARSERS.replace(b"(?P<run>", b"(").replace(b'"table"\nfile', b'"unknown"\nfile')
    side = parse(SOURCE + bad)
    first, second = check(side)
    assert first.startswith("sources[0].parsers[0].path = ")
    assert second.startswith("sources[0].parsers[1].format = 'unknown'")
    side = parse(SOURCE + bad + b'[software]\nbundle = "' + b"a" * 64 + b'"\n')
    assert [fault.split(" ")[0] for fault in check(side)] == ["sources[0].parsers[0].path"]
    assert check(parse(SOURCE + b"[limits.parser]\ncache_bytes = 1\n"))[0].startswith("limits.parser.cache_bytes")


def test_what_is_right_has_no_faults() -> None:
    assert check(parse(SOURCE + b'exclude = ["*.tmp"]\n[limits.syncer]\nwindow_bytes = 1\n')) == []
    assert check(parse(b"sources = []")) == []


def test_a_digest_is_of_the_bytes() -> None:
    assert digest_of(b"a") == digest_of(b"a") != digest_of(b"a ")
    assert digest_of(b"")


@given(
    patterns=st.lists(st.text(st.characters(exclude_characters="\n\0", codec="utf-8"), min_size=1), max_size=3),
    number=st.one_of(st.integers(-(2**63), 2**63 - 1), st.booleans(), st.floats(-1e300, 1e300)),
    text=st.text(st.characters(codec="utf-8")),
)
def test_what_is_rendered_reads_the_same(patterns: list[str], number: float, text: str) -> None:
    source = SourceConfig(name="a", root="/srv/\u007f x", exclude=tuple(patterns), one_filesystem=False)
    side = DataSide((source,), DataLimits(scanner={"n": number, "t": text, "l": [1, {"k": "v"}]}))
    assert parse(render(side).encode()) == side
    assert parse(render(DataSide(())).encode()) == DataSide(())


def test_a_bad_number_of_faults_is_an_error_of_its_kind() -> None:
    with pytest.raises(ConfigError):
        parse(b"x" * (MOST_BYTES + 1))
