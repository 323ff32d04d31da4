"""What the host denies is never shown, whatever happens to it, and everything else is."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.cluster import Cluster, until


def test_denied_directories_and_sizes_are_never_shown(tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "private" / "deep").mkdir(parents=True)
    (root / "private" / "deep" / "secret").write_text("x")
    (root / "small").write_text("x")
    (root / "large").write_text("x" * 5000)
    deny = f'[deny]\ndirectories = ["{root}/private"]\nfile_bytes = 4096\n'
    cluster = Cluster(root, tmp_path / "state", limits=deny)
    try:
        cluster.settled()
        assert cluster.entries().keys() == {b"", b"small"}
        # Events: below it, of it, by another name, and sizes that pass the bound either way.
        (root / "private" / "more").write_text("x")
        os.chmod(root / "private", 0o700)
        os.rename(root / "private", root / "renamed")
        os.truncate(root / "large", 100)
        os.truncate(root / "small", 5000)
        (root / "mark").mkdir()
        until(lambda: cluster.entries().keys() >= {b"mark", b"large"}, "what is allowed")
        cluster.settled()
        assert cluster.entries().keys() == {b"", b"large", b"mark"}
    finally:
        cluster.down()
