"""
``fustor doctor``: looks at this host, and at the configuration, keys and ports of a state folder, and says what to do.

It only reads, and may run at any time, also before anything was started. What this module does not do: judge the
readings of the host (``health`` does), or look at other hosts.
"""

from __future__ import annotations

import ctypes
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
from rich.table import Table
from rich.text import Text

from fustor.admin.console import print_json, stdout
from fustor.admin.health import Finding, Host, Verdict, findings
from fustor.admin.options import JsonOption, StateOption, chosen_state
from fustor.admin.ports import holder, is_free, split
from fustor.admin.prepare import port_counts
from fustor.admin.probe import ask_root
from fustor.admin.processes import guardian
from fustor.admin.state import Side, State
from fustor.runtime.access import own_key
from fustor.runtime.keys import load_public, load_secret
from protocols.errors import FustorError, MachineError

#: adjtimex(2) returns this when nobody keeps the clock right, and wants a structure of fewer bytes than the second.
_TIME_ERROR, _TIMEX_BYTES = 5, 512
#: Seconds that fs/tree may take to tell the size of its tree.
_PATIENCE = 2.0
_STYLES = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.BAD: "red"}


def command(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Check this host, the configuration, keys and ports; each fault comes with what mends it. Exit code 1: bad."""
    where = chosen_state(state)
    found = [*findings(read_host(where)), *_state(where)]
    if as_json:
        print_json([{**attrs.asdict(one), "verdict": one.verdict.value} for one in found])
    else:
        stdout().print(listing(found))
    bad = [one.name for one in found if one.verdict is Verdict.BAD]
    if bad:
        raise MachineError(f"{', '.join(bad)}: has to be mended")


def listing(found: list[Finding]) -> Table:
    """One row a finding, what mends it below."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in found:
        text = Text(one.text)
        if one.mend:
            text.append(f"\n→ {one.mend}", style="bold")
        table.add_row(Text(one.verdict.value, style=_STYLES[one.verdict]), Text(one.name), text)
    return table


# -- the host -------------------------------------------------------------------------------------------------------


def read_host(state: State) -> Host:
    """What can be read here; the tree is asked for its size when it runs."""
    folder = _existing(state.folder)
    disk = os.statvfs(folder)
    space = resource.getrlimit(resource.RLIMIT_AS)[1]
    rollup = _rollup(state)
    return Host(
        watches=_number("/proc/sys/fs/inotify/max_user_watches"),
        instances=_number("/proc/sys/fs/inotify/max_user_instances"),
        queued=_number("/proc/sys/fs/inotify/max_queued_events"),
        descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        address_space=None if space == resource.RLIM_INFINITY else space,
        backlog=_number("/proc/sys/net/core/somaxconn"),
        memory=_available(),
        free_bytes=disk.f_bavail * disk.f_frsize,
        free_inodes=disk.f_favail if disk.f_files else None,
        filesystem=filesystem_of(folder),
        synchronised=_synchronised(),
        directories=rollup.get("directories"),
        files=rollup.get("files"),
    )


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None


def _available() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    except (OSError, ValueError):
        pass
    return None


def filesystem_of(folder: Path) -> str:
    """The type of the file system of ``folder`` (proc_pid_mountinfo(5)); empty when it can't be told."""
    device = os.stat(folder).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields, _, more = line.partition(" - ")
            if fields.split()[2] == wanted:
                return more.split()[0]
    except (OSError, IndexError):
        pass
    return ""


def _synchronised() -> bool | None:
    """Whether the kernel was told that its clock is kept right."""
    try:
        told = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if told < 0 else told != _TIME_ERROR


def _rollup(state: State) -> dict[str, int]:
    if not state.exists():
        return {}
    try:
        key = own_key(str(state.fusion.folder))
        root = ask_root(str(state.fusion_config()["http"]), _PATIENCE, key)
    except FustorError:
        return {}
    rollup: dict[str, int] = (root or {}).get("rollup") or {}
    return rollup


# -- the state folder -----------------------------------------------------------------------------------------------


def _state(state: State) -> Iterator[Finding]:
    if not state.exists():
        yield Finding("state", Verdict.OK, f"{state.folder}: nothing has been started there yet")
        return
    yield from _private(state)
    faults = list(_configurations(state))
    yield from faults or [Finding("configuration", Verdict.OK, f"{state.fusion.config}, {state.agent.config}")]
    yield from _keys(state)
    if not faults:
        yield from _ports(state)


def _private(state: State) -> Iterator[Finding]:
    mode = stat.S_IMODE(state.folder.stat().st_mode)
    if mode & 0o077:
        text = f"{state.folder} has mode {mode:04o}: others can get at it"
        yield Finding("state", Verdict.BAD, text, f"chmod 700 {state.folder}")
    else:
        yield Finding("state", Verdict.OK, f"{state.folder}")


def _configurations(state: State) -> Iterator[Finding]:
    """Only what is wrong; each side says so itself."""
    for side in state.sides:
        command = [sys.executable, "-P", "-m", f"fustor.{side.name}.daemon", "--config", str(side.config), "--check"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        for fault in done.stderr.splitlines() if done.returncode else ():
            yield Finding("configuration", Verdict.BAD, fault, f"edit {side.config}")


def _keys(state: State) -> Iterator[Finding]:
    wrong = False
    for side, name in ((state.fusion, "fusion"), (state.fusion, "admin"), (state.agent, "agent")):
        yield from (faults := list(_key(side, name)))
        wrong = wrong or bool(faults)
    folder = state.fusion.keys / "authorized"
    people = sorted(folder.glob("*.pub")) if folder.is_dir() else []
    for path in people:
        try:
            load_public(str(path))
        except FustorError as error:
            wrong = True
            mend = "write it again: fustor keys enroll FILE, or remove it"
            yield Finding("keys", Verdict.WARNING, f"nobody can use it: {error}", mend)
    if not wrong:
        yield Finding("keys", Verdict.OK, f"{len(people)} may connect")


def _key(side: Side, name: str) -> Iterator[Finding]:
    path = side.keys / f"{name}.key"
    if not path.exists():
        return  # made at the start
    try:
        load_secret(str(path))
    except FustorError as error:
        yield Finding("keys", Verdict.BAD, str(error), f"chmod 600 {path}, or restore the file")


def _ports(state: State) -> Iterator[Finding]:
    held = guardian(state.fusion)
    if held is not None:
        held.close()
        yield Finding("ports", Verdict.OK, "Fusion runs, its guardian has them")
        return
    faults = list(_taken(state))
    yield from faults or [Finding("ports", Verdict.OK, "all of them are free")]


def _taken(state: State) -> Iterator[Finding]:
    config = state.fusion_config()
    for key, count in port_counts(state).items():
        host, first = split(str(config[key]), f"fusion.{key}")
        for port in range(first, first + count):
            try:
                text = "" if is_free(host, port) else f"{host}:{port} is taken by {holder(port)}"
            except MachineError as error:
                text = str(error)
            if text:
                mend = f"stop it, or choose another one for {key} in {state.fusion.config}"
                yield Finding("ports", Verdict.BAD, text, mend)
