"""A tree is shown to a network only when somebody has said so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fustor.fusion.access import check_access, is_open
from fustor.fusion.config import FusionConfig, build
from fustor.runtime.access import api_folder, make_key, write_key
from protocols.errors import ConfigError


def config(tmp_path: Path, http: str, **more: Any) -> FusionConfig:
    return build({"fusion": {"state": str(tmp_path), "http": http, **more}})


@pytest.mark.parametrize("http", ["127.0.0.1:8101", "127.8.9.1:8101", "[::1]:8101", "localhost:8101"])
def test_this_host_needs_no_key(tmp_path: Path, http: str) -> None:
    assert is_open(config(tmp_path, http))
    check_access(config(tmp_path, http))


@pytest.mark.parametrize("http", ["0.0.0.0:8101", "*:8101", "[::]:8101", "192.0.2.1:8101", "files.example:8101"])
def test_a_network_needs_a_key_or_a_word(tmp_path: Path, http: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_access(config(tmp_path, http))
    assert (refused.value.field, refused.value.value) == ("fusion.http", http)
    assert "fustor api-keys new" in refused.value.accepted
    told = config(tmp_path, http, http_without_keys=True)
    check_access(told)
    assert is_open(told)
    Path(api_folder(str(tmp_path))).mkdir(parents=True)
    write_key(api_folder(str(tmp_path)), make_key("ann")[1])
    check_access(config(tmp_path, http))
    assert not is_open(config(tmp_path, http))
