"""What a rule accepts, and what it finds in paths."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from actors.parser.rule import compile_rule
from fustor.runtime.config import ConfigFaults
from fustor.runtime.source import ParserConfig


def rule(**fields: Any) -> Any:
    return compile_rule(ParserConfig(name="one", **fields))


def test_named_groups_are_what_a_path_says() -> None:
    made = rule(path=r"^projects/(?P<project>[^/]+)/run(?P<run>[0-9]+)(?:\.(?P<kind>csv|json))?$")
    assert made.named(b"projects/alpha/run7.csv") == {"project": "alpha", "run": "7", "kind": "csv"}
    assert made.named(b"projects/alpha/run7") == {"project": "alpha", "run": "7"}
    assert made.named(b"elsewhere/run7") is None
    assert made.named(b"projects/\xff/run7") == {"project": "\ufffd", "run": "7"}


def test_an_empty_path_is_every_file() -> None:
    assert rule(format="mime").named(b"anything") == {}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"path": "(unclosed", "format": "json"}, "path"),
        ({"path": r"\.csv$"}, "named groups"),
        ({"path": "(?P<error>x)"}, "error"),
        ({"path": "x", "format": "unheard_of"}, "archive, json, mime, table"),
        ({"format": "json", "options": {"mostbytes": 1}}, r"options\.mostbytes.*most_bytes"),
        ({"format": "json", "options": {"most_bytes": "many"}}, r"options\.most_bytes.*a value like 16777216"),
        ({"format": "table", "options": {"header": 1}}, r"options\.header"),
        ({"path": "(?P<a>x)", "options": {"a": 1}}, "without a format"),
    ],
)
def test_what_is_wrong_is_said_by_name(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigFaults, match=named):
        rule(**fields)


def test_every_fault_is_said_at_once() -> None:
    with pytest.raises(ConfigFaults) as raised:
        rule(path="(", format="json", options={"a": 1, "b": 2})
    assert len(raised.value.faults) == 3


def test_options_reach_the_format_and_decide_its_digest(tmp_path: Path) -> None:
    made = rule(format="json", options={"most_bytes": 4})
    assert made.read(io.BytesIO(b"[1]")) == {"type": "array", "length": 1}
    with pytest.raises(ValueError, match="most_bytes"):
        made.read(io.BytesIO(b"[1,2]"))
    digests = {rule(format="json", **more).digest for more in ({}, {"options": {"most_bytes": 4}}, {"path": "x"})}
    assert len(digests) == 3
    assert rule(format="json").digest == rule(format="json").digest


class Plugins:
    """Packages that name plug-ins, as an installer would leave them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        monkeypatch.syspath_prepend(str(folder))

    def add(self, module: str, text: str, name: str = "read") -> None:
        (self.folder / f"{module}.py").write_text(text)
        info = self.folder / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[fustor.parsers]\n{module} = {module}:{name}\n")


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    return Plugins(tmp_path, monkeypatch)


def test_a_plug_in_is_found_by_its_entry_point(plugins: Plugins) -> None:
    plugins.add("lines_of", "def read(file, *, most: int = 10):\n    return {'lines': len(file.readlines()[:most])}\n")
    made = rule(format="lines_of", options={"most": 2})
    assert made.read(io.BytesIO(b"a\nb\nc\n")) == {"lines": 2}
    with pytest.raises(ConfigFaults, match="lines_of"):
        rule(format="others")


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("raise OSError('no such luck')", "read", "no such luck"),
        ("", "read", "can't be loaded"),
        ("read = 5", "read", "a function"),
    ],
)
def test_a_plug_in_that_is_none_is_refused(plugins: Plugins, text: str, name: str, said: str) -> None:
    module = f"broken_{abs(hash(text))}"
    plugins.add(module, text, name)
    with pytest.raises(ConfigFaults, match=said):
        rule(format=module)
