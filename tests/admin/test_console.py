"""Where answers go, and when there are colours."""

from __future__ import annotations

import pytest

from fustor.admin.console import print_json, stderr, stdout


def test_answers_and_remarks_are_kept_apart(capsys: pytest.CaptureFixture[str]) -> None:
    stdout().print("answer", style="bold red")
    stderr().print("remark", style="bold red")
    assert capsys.readouterr() == ("answer\n", "remark\n")  # piped: no colours


def test_no_color_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert stdout().no_color


def test_one_document_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "ü", "raw": b"a\xff"})
    assert capsys.readouterr().out == '{"name": "ü", "raw": "a\\\\xff"}\n'


def test_what_has_no_json_form_is_an_error() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        print_json(object())
