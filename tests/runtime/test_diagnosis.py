"""Diagnoses of a real shell: bounded, without secrets, readable in pieces."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import pytest

from fustor.runtime.audit import Audit
from fustor.runtime.diagnosis import KEPT, Diagnoses, prune, read_piece, redacted
from protocols.errors import MachineError
from protocols.messages import CHUNK_BYTES
from tests.runtime.test_shell import Stage, guardian, running, stage

__all__ = ["guardian", "stage"]


def test_secrets_are_left_out() -> None:
    config = {"id": "a", "admin_token": "t", "keys": [{"secret": "s", "public": "p"}], "when": object, "password": ""}
    shown = redacted(config)
    assert shown["admin_token"] == "(redacted)"
    assert shown["keys"] == [{"secret": "(redacted)", "public": "p"}]
    assert (shown["id"], shown["password"]) == ("a", "")
    assert json.dumps(shown)


async def test_a_diagnosis_of_what_runs(stage: Stage, tmp_path: Path) -> None:
    audit = Audit(str(tmp_path / "audit"))
    async with stage.shell(stage.spec("a")) as shell:
        await running(shell, "a")
        made = Diagnoses(str(tmp_path / "diagnoses"), shell, audit, lambda: {"configuration": {"secret": "x"}})
        told = await made.make("the-first")
        total, data = made.piece("the-first", 0)
        assert total == told["bytes"] == len(data)
        with zipfile.ZipFile(io.BytesIO(data)) as bundle:
            assert json.loads(bundle.read("side.json"))["configuration"] == {"secret": "(redacted)"}
            assert b"most recent call first" in bundle.read("stacks/a.txt")
        assert made.piece("other-one", 0) == (-1, b"")
        # Whatever Fusion asks for, it gets diagnoses only.
        (tmp_path / "private.zip").write_text("x")
        assert made.piece("../private", 0) == (-1, b"")
        assert made.piece(str(tmp_path / "private"), 0) == (-1, b"")
        for number in range(KEPT + 1):
            await made.make(f"n{number}")
        assert len(os.listdir(made.folder)) == KEPT
        (tmp_path / "file").touch()
        with pytest.raises(MachineError, match="can't be written"):
            await Diagnoses(str(tmp_path / "file"), shell, audit, dict).make("x")
    audit.close()


def test_pieces_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(os.urandom(CHUNK_BYTES + 5))
    offsets = (0, CHUNK_BYTES, CHUNK_BYTES + 5, 1 << 40)
    assert [len(read_piece(str(path), offset)[1]) for offset in offsets] == [CHUNK_BYTES, 5, 0, 0]


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for number in range(4):
        path = tmp_path / str(number)
        path.touch()
        os.utime(path, (number, number))
    prune(str(tmp_path), 2)
    assert sorted(os.listdir(tmp_path)) == ["2", "3"]
