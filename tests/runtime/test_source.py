from __future__ import annotations

import pytest

from fustor.runtime.config import ConfigFaults, structure
from fustor.runtime.source import SourceConfig


def test_a_source_as_written_in_toml() -> None:
    source = structure(
        SourceConfig, {"name": "data", "root": "/srv/data", "exclude": ["*.tmp"], "fast_audit_seconds": 5}
    )
    assert source == SourceConfig(name="data", root="/srv/data", exclude=("*.tmp",), fast_audit_seconds=5.0)
    assert (source.scanners, source.one_filesystem, source.full_audit_seconds) == (2, True, 86_400.0)


@pytest.mark.parametrize("root", ["/", "/a", "/a/", "/a b/é/..c"])
def test_roots_that_are_accepted(root: str) -> None:
    assert structure(SourceConfig, {"name": "x", "root": root}).root == root


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", ""),
        ("name", "a.b"),
        ("name", "a/b"),
        ("name", "-a"),
        ("name", "a" * 33),
        ("root", "relative"),
        ("root", ""),
        ("root", "/a/../b"),
        ("root", "/a/./b"),
        ("root", "/a\0b"),
        ("scanners", 0),
        ("scanners", 65),
        ("fast_audit_seconds", 0),
        ("full_audit_seconds", float("inf")),
        ("include", "x"),
    ],
)
def test_what_is_refused_names_the_field(key: str, value: object) -> None:
    with pytest.raises(ConfigFaults) as caught:
        structure(SourceConfig, {"name": "x", "root": "/x", key: value})
    (fault,) = caught.value.faults
    assert fault.field == key
    assert "accepted" in fault.accepted


@pytest.mark.parametrize("key", ["include", "exclude", "include_regex", "exclude_regex"])
@pytest.mark.parametrize("pattern", ["", "a\nb", "a\0"])
def test_a_bad_pattern_is_named_by_its_place(key: str, pattern: str) -> None:
    with pytest.raises(ConfigFaults) as caught:
        structure(SourceConfig, {"name": "x", "root": "/x", key: ["ok", pattern]})
    assert [fault.field for fault in caught.value.faults] == [f"{key}[1]"]
