"""
Ask the HTTP port what it says of the whole tree, without its content.

Standard library, one short connection per question: this is what any client of fs/tree sees.
"""

from __future__ import annotations

import http.client
import json
from typing import Any

from fustor.admin.ports import split

#: Larger answers to this small question are not ours.
_MOST = 1 << 20


def reachable(address: str) -> tuple[str, int]:
    """Host and port under which a listener at ``address`` (``HOST:PORT``) is reached from this host."""
    host, port = split(address, "fusion.http")
    return {"0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "::": "::1"}.get(host, host), port


def url(address: str) -> str:
    """The address of fs/tree."""
    host, port = reachable(address)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/fs/tree"


def ask_root(address: str, seconds: float, key: str = "") -> dict[str, Any] | None:
    """
    The root node of the default view, without children.

    Args:
        address: ``HOST:PORT`` that Fusion listens on.
        seconds: for connecting, and for each read.
        key: to show, as :func:`fustor.runtime.access.own_key` has it; empty: none.

    Returns:
        The node; None when nobody answers yet, or what answers is not fs/tree.
    """
    host, port = reachable(address)
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        headers = {"Connection": "close", **({"X-API-Key": key} if key else {})}
        connection.request("GET", "/fs/tree?path=/&max_depth=0", headers=headers)
        answer = connection.getresponse()
        node = json.loads(answer.read(_MOST)) if answer.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return node if isinstance(node, dict) and "state" in node else None
