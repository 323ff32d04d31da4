"""Leaving descriptors, without a guardian. With one: ``tests/guardian/test_kept.py``."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from fustor.guardian import gate
from fustor.runtime import leaving
from fustor.runtime.leaving import leave, left
from fustor.runtime.rejoin import GATE


def test_without_a_guardian_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not leave("a", "t", {"x": 0})
    assert gate.NAME == GATE


@pytest.mark.parametrize(("answer", "kept"), [(b'{"welcome":1}', True), (b'{"refused":"no"}', False), (b"{", False)])
def test_the_answer_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes, kept: bool) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[bool] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(GATE)
        listener.listen()
        asker = threading.Thread(target=lambda: said.append(leave("a", "t", {"x": 0})))
        asker.start()
        visitor = listener.accept()[0]
        asked, fds, _, _ = socket.recv_fds(visitor, 4096, 4)
        assert (b'"keep": "a"' in asked, len(fds)) == (True, 1)
        os.close(fds[0])
        visitor.send(answer)
        asker.join()
        visitor.close()
    assert said == [kept]


def test_one_that_does_not_answer_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(leaving, "ANSWER_SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(GATE)
        listener.listen()
        assert not leave("a", "t", {})


def test_only_what_was_kept_is_ours() -> None:
    assert left({"http": 3, "kept.inotify.ab": 4}) == {"inotify.ab": 4}
