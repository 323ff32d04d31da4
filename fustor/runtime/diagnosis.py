"""
A diagnosis: everything about one side that helps to understand it, as one zip file.

::

    side.json              versions, counters, configuration without secrets
    payloads.json          as in heartbeats
    story.jsonl            what happened, with the evidence
    audit.jsonl            the last orders
    supervision/NAME.txt   the last transitions of a payload
    proc/NAME.txt          what the kernel says of it
    stacks/NAME.txt        what its threads do
    log/NAME.log           the end of its log

It is bounded, lies in a folder of a few, and is fetched in pieces. What this module does not do: read what payloads
work on, or wait for a process that does not answer for longer than :data:`STACK_SECONDS`.
"""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import trio

import fustor
from fustor.runtime.audit import Audit
from fustor.runtime.evidence import proc_facts, tail
from fustor.runtime.performing import own_stacks
from fustor.runtime.shell import Shell
from protocols.errors import MachineError, RequestError
from protocols.messages import CHUNK_BYTES
from protocols.orders import is_id

#: Seconds that all processes together get to write their stacks.
STACK_SECONDS = 3.0
#: Bytes of a log's end.
LOG_BYTES = 256 << 10
#: Diagnoses that are kept.
KEPT = 4
#: Bytes of the largest diagnosis that is taken from another side.
MOST_BYTES = 64 << 20

#: Parts of a key's name that make its value a secret.
_SECRETS = ("secret", "password", "token", "credential", "private")


def redacted(value: Any, key: str = "") -> Any:
    """Plain data without the values of keys that are secrets, and without what is no plain data."""
    if any(part in key.lower() for part in _SECRETS) and value:
        return "(redacted)"
    if isinstance(value, Mapping):
        return {str(name): redacted(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item, key) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


@attrs.frozen
class Diagnoses:
    """
    Attributes:
        folder: of the files.
        shell: what they are about.
        audit: of this side.
        describe: configuration and counters of the side, plain data.
    """

    folder: str
    shell: Shell
    audit: Audit
    describe: Callable[[], dict[str, Any]]

    async def make(self, name: str) -> dict[str, Any]:
        """
        Make one.

        Returns:
            ``{"bytes": its size}``.

        Raises:
            MachineError: it can't be written.
        """
        shell = self.shell
        found: dict[str, str] = {"control": own_stacks()}

        async def ask(payload: str) -> None:
            with contextlib.suppress(RequestError):
                found[payload] = await shell.stacks_of(payload, STACK_SECONDS)

        async with trio.open_nursery() as nursery:
            for payload in shell.names():
                nursery.start_soon(ask, payload)
        lives = {name: shell.view(name) for name in shell.names()}
        pids = {"control": os.getpid(), "guardian": os.getppid()} | {n: v.pid for n, v in lives.items() if v.pid}
        side = {"software": fustor.__version__, "pid": os.getpid(), **redacted(self.describe())}
        parts = {
            "side.json": json.dumps(side, indent=1, default=str),
            "payloads.json": json.dumps([attrs.asdict(status) for status in shell.statuses()], indent=1),  # type: ignore[arg-type]
            "story.jsonl": _lines([attrs.asdict(one) for one in shell.story.all()]),  # type: ignore[arg-type]
            "audit.jsonl": _lines(list(self.audit.recent)),
        }
        for payload, life in lives.items():
            steps = "\n".join(f"{at:.3f} {event}: {was} → {now}" for at, event, was, now in life.history)
            parts[f"supervision/{payload}.txt"] = f"{life.state.value} {life.complaint}\n{steps}\n"
        parts |= {f"stacks/{payload}.txt": text or "(none in time)\n" for payload, text in found.items()}
        return await trio.to_thread.run_sync(self._write, name, parts, pids)

    def path(self, name: str) -> str:
        """Where a diagnosis is, or would be. ``name`` is the id of an order (:func:`protocols.orders.is_id`)."""
        return os.path.join(self.folder, f"{name}.zip")

    def piece(self, name: str, offset: int) -> tuple[int, bytes]:
        """(total, bytes at ``offset``) of one; (-1, b"") when it is not there, or is no id. Blocks for the disk."""
        if not is_id(name):
            return -1, b""
        return read_piece(self.path(name), offset)

    def _write(self, name: str, parts: dict[str, str], pids: dict[str, int]) -> dict[str, Any]:
        path = self.path(name)
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            with zipfile.ZipFile(path + ".tmp", "w", zipfile.ZIP_DEFLATED, compresslevel=6) as bundle:
                for part, text in parts.items():
                    bundle.writestr(part, text.encode("utf-8", "backslashreplace"))
                for process, pid in pids.items():
                    bundle.writestr(f"proc/{process}.txt", proc_facts(pid).encode("utf-8", "backslashreplace"))
                for process in pids:
                    bundle.writestr(f"log/{process}.log", tail(self.shell.log_of(process), LOG_BYTES).encode())
            os.rename(path + ".tmp", path)
            prune(self.folder)
            return {"bytes": os.stat(path).st_size}
        except OSError as error:
            raise MachineError(f"{path} can't be written: {error.strerror}") from error


def prune(folder: str, kept: int = KEPT) -> None:
    """Remove all but the newest files of a folder."""
    files = sorted(
        (entry for entry in os.scandir(folder) if entry.is_file()), key=lambda entry: entry.stat().st_mtime_ns
    )
    for entry in files[: max(0, len(files) - kept)]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(entry.path)


def read_piece(path: str, offset: int) -> tuple[int, bytes]:
    """(size, at most one chunk at ``offset``) of a file; (-1, b"") when it can't be read."""
    try:
        with open(path, "rb") as file:
            total = file.seek(0, os.SEEK_END)
            file.seek(max(0, min(offset, total)))
            return total, file.read(CHUNK_BYTES)
    except OSError:
        return -1, b""


def _lines(values: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(value, default=str) + "\n" for value in values)
