"""
What a guardian that was killed has left behind, as its table.json tells. Pure, but for reading the kernel's boot id.

A table of another boot tells nothing: pids mean nothing after it.
"""

from __future__ import annotations

import json

from fustor.guardian.table import Slot


class Predecessor:
    """
    Attributes:
        slots: of its payloads, running ones and ended ones.
        control: its control actor; None when it had none.
        listen: name → (host, port) that its listening sockets were bound to.
        template: its template; None when it had none.
        oom_score: its own oom_score_adj, which a successor started by a payload has to get back.
    """

    def __init__(self) -> None:
        self.slots: list[Slot] = []
        self.control: Slot | None = None
        self.template: Slot | None = None
        self.listen: dict[str, tuple[str, int]] = {}
        self.oom_score = 0

    def running(self) -> list[Slot]:
        """Processes that had not exited when the table was written."""
        every = [*self.slots, *([self.control] if self.control else [])]
        return [slot for slot in every if slot.exit is None]


def boot_id() -> str:
    """Identifies this boot of the kernel (random(4)); empty when it can't be told."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def recorded(table: bytes) -> Predecessor:
    """What a table.json says; nothing if it is empty, unreadable, or of another boot."""
    found = Predecessor()
    try:
        data = json.loads(table or b"{}")
        if not isinstance(data, dict) or data.get("boot") != boot_id():
            return found
        slots = [Slot.from_json(entry) for entry in data["slots"]]
        control = Slot.from_json(data["control"]) if data["control"] else None
        template = Slot.from_json(data["template"]) if data.get("template") else None
        listen = {str(name): (str(host), int(port)) for name, (host, port) in data["listen"].items()}
        score = int(data["oom_score"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return found  # not written by us: says nothing that could be trusted
    found.slots, found.control, found.template = slots, control, template
    found.listen, found.oom_score = listen, score
    return found
