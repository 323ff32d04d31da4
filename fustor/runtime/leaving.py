"""
Leaving descriptors with the guardian, for the next process of our name: see ``fustor/guardian/kept.py``.

What this module does not do: say what is behind them, or end this process.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping

from fustor.guardian.kept import PREFIX
from fustor.runtime.rejoin import GATE

#: Begins the names of descriptors that were kept, among those that a process is given.
KEPT = PREFIX

#: Seconds for the guardian's answer; it is in the way of our end.
ANSWER_SECONDS = 1.0


def leave(name: str, token: str, fds: Mapping[str, int]) -> bool:
    """
    Leave ``fds``, by name, with the guardian. Blocks.

    Args:
        name, token: of this process.

    Returns:
        Whether it keeps them: not when everything is being stopped, nor without a guardian.
    """
    greeting = {"keep": name, "pid": os.getpid(), "token": token, "fds": list(fds)}
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.settimeout(ANSWER_SECONDS)
            sock.connect(GATE)
            socket.send_fds(sock, [json.dumps(greeting).encode()], list(fds.values()))
            return "welcome" in json.loads(sock.recv(65536) or b"{}")
    except (OSError, ValueError):
        return False


def left(fds: Mapping[str, int]) -> dict[str, int]:
    """What a process of our name has left, of the descriptors ``fds`` that this one was given."""
    return {name.removeprefix(KEPT): fd for name, fd in fds.items() if name.startswith(KEPT)}
