"""The chain of an audit log: what was meddled with shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fustor.runtime.audit import Audit
from fustor.runtime.chain import AuditLimits, files_of, verify


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "audit" / "audit.jsonl")


@pytest.mark.parametrize(
    ("meddle", "fault"),
    [
        (lambda lines: [lines[0].replace("ann", "eve"), *lines[1:]], ":1: it was changed"),
        (lambda lines: [lines[0], lines[2]], ":2: what was before it"),
        (lambda lines: [lines[0], lines[2], lines[1]], ":2: what was before it"),
        (lambda lines: [lines[0], "nonsense", *lines[1:]], ":2: no entry"),
    ],
    ids=["changed", "left out", "exchanged", "put in"],
)
def test_meddling_shows(path: str, meddle: Callable[[list[str]], list[str]], fault: str) -> None:
    audit = Audit(path)
    for who in ("ann", "bob", "eve"):
        audit.append({"who": who})
    audit.close()
    Path(path).write_text("\n".join(meddle(Path(path).read_text().splitlines())) + "\n")
    assert fault in verify(path)[1]


def test_files_are_told_from_the_oldest_on(path: str) -> None:
    assert files_of(path) == []
    folder = Path(path).parent
    folder.mkdir()
    for name in ("audit.jsonl", "audit.jsonl.2", "audit.jsonl.10", "audit.jsonl.x", "other"):
        (folder / name).touch()
    assert [Path(file).name for file in files_of(path)] == ["audit.jsonl.10", "audit.jsonl.2", "audit.jsonl"]


@pytest.mark.parametrize(("field", "value"), [("file_bytes", 1), ("files", 0)])
def test_limits_have_bounds(field: str, value: int) -> None:
    with pytest.raises(ValueError, match="is accepted"):
        AuditLimits(**{field: value})
