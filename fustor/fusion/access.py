"""
Whether fs/tree may be open to everybody.

What this module does not do: read API keys, or check one (:mod:`fustor.runtime.access`).
"""

from __future__ import annotations

import os

from fustor.fusion.config import FusionConfig
from fustor.runtime.access import SUFFIX, api_folder
from fustor.runtime.endpoint import is_loopback, parse_address
from protocols.errors import ConfigError, MachineError


def is_open(config: FusionConfig) -> bool:
    """Whether everybody may ask as long as there has been no key."""
    return config.fusion.http_without_keys or is_loopback(parse_address(config.fusion.http).host)


def check_access(config: FusionConfig) -> None:
    """
    Refuse what would show a tree to a network by mistake.

    Raises:
        ConfigError: others than this host reach fs/tree, there is no API key, and nobody said that it may be so.
        MachineError: the folder of the keys can't be read.
    """
    if is_open(config):
        return
    folder = api_folder(config.fusion.state)
    try:
        if any(name.endswith(SUFFIX) for name in os.listdir(folder)):
            return
    except FileNotFoundError:
        pass
    except OSError as error:
        raise MachineError(f"{folder} can't be read: {error.strerror}") from None
    accepted = (
        "an address that other hosts reach is accepted when there is an API key: `fustor api-keys new NAME`, with the "
        "--state of this Fusion; or with http_without_keys = true, which lets everybody see everything"
    )
    raise ConfigError("fusion.http", config.fusion.http, accepted)
