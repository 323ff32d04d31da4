"""
Whether a host is fit for what runs on it, judged from readings of it; each finding says what mends it. Pure.

What this module does not do: read anything (``doctor`` does), or change anything.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

import attrs

from fustor.admin.text import size

#: Watches that are left for directories to come, as a share of those that there are.
_MARGIN = 1.25
#: Watches that are enough where nothing is known of the tree.
_WATCHES = 524_288
#: Events that wait while the watcher is busy.
_QUEUED = 16_384
#: Instances of inotify: one a source, and what the user's other programs have.
_INSTANCES = 32
#: Descriptors of a process: connections of clients, of agents, and stores.
_FILES = 4_096
#: Connections that wait to be accepted.
_BACKLOG = 4_096
#: Bytes that a store needs for a file, twice: while a transaction is written old and new pages are there; and at least.
_BYTES_PER_FILE, _BYTES = 2 * 90, 1 << 30
#: Inodes that the state folder needs: logs, keys, diagnoses.
_INODES = 1_000
#: Memory of both sides, and the pages of the store that should stay in it.
_MEMORY = 1 << 30
#: File systems on which a memory-mapped store is not safe, or not shared by processes as it has to be.
REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "lustre", "afs", "fuse.sshfs"})


class Verdict(enum.Enum):
    """What a finding means. The value is what people see."""

    OK = "ok"
    WARNING = "warning"
    BAD = "bad"


@attrs.frozen
class Finding:
    """
    One thing that was looked at.

    Attributes:
        name: what.
        verdict: how it is.
        text: what was found.
        mend: the command, or what to do; empty when it is well.
    """

    name: str
    verdict: Verdict
    text: str
    mend: str = ""


@attrs.frozen
class Host:
    """
    Readings; None where something could not be read or is not known.

    Attributes:
        watches, instances, queued: most of inotify(7), for a user; events for an instance.
        descriptors: hard limit of a process.
        address_space: the same in bytes; None: unlimited.
        backlog: net.core.somaxconn.
        memory: bytes available.
        free_bytes, free_inodes: where the state is; None inodes: the file system has no fixed number.
        filesystem: type of it.
        synchronised: whether the clock is kept right by somebody.
        directories, files: in the tree, when it is known.
    """

    watches: int | None = None
    instances: int | None = None
    queued: int | None = None
    descriptors: int | None = None
    address_space: int | None = None
    backlog: int | None = None
    memory: int | None = None
    free_bytes: int | None = None
    free_inodes: int | None = None
    filesystem: str = ""
    synchronised: bool | None = None
    directories: int | None = None
    files: int | None = None


def findings(host: Host) -> Iterator[Finding]:
    """Everything that can be said of a host."""
    yield from _watches(host)
    yield from _sysctl("inotify instances", "fs.inotify.max_user_instances", host.instances, _INSTANCES)
    yield from _sysctl("inotify queue", "fs.inotify.max_queued_events", host.queued, _QUEUED)
    yield from _sysctl("connections waiting", "net.core.somaxconn", host.backlog, _BACKLOG)
    yield from _descriptors(host)
    yield from _address_space(host)
    yield from _memory(host)
    yield from _disk(host)
    yield from _filesystem(host)
    yield from _clock(host)


def _sysctl(name: str, key: str, found: int | None, wanted: int) -> Iterator[Finding]:
    if found is None:
        return
    if found >= wanted:
        yield Finding(name, Verdict.OK, f"{key} = {found:,}")
    else:
        yield Finding(name, Verdict.WARNING, f"{key} = {found:,}, {wanted:,} are better", _set(key, wanted))


def _set(key: str, value: int) -> str:
    return f"sysctl -w {key}={value} && echo '{key}={value}' >> /etc/sysctl.d/90-fustor.conf"


def _watches(host: Host) -> Iterator[Finding]:
    name, key = "inotify watches", "fs.inotify.max_user_watches"
    if host.watches is None:
        return
    if host.directories is None:
        yield from _sysctl(name, key, host.watches, _WATCHES)
        return
    wanted = round(host.directories * _MARGIN)
    text = f"{key} = {host.watches:,} for {host.directories:,} directories"
    if host.watches >= wanted:
        yield Finding(name, Verdict.OK, text)
        return
    # Without a watch a directory is looked at by audits only.
    verdict = Verdict.BAD if host.watches < host.directories else Verdict.WARNING
    yield Finding(name, verdict, f"{text}: what has no watch is found by audits only", _set(key, max(wanted, _WATCHES)))


def _descriptors(host: Host) -> Iterator[Finding]:
    if host.descriptors is None:
        return
    text = f"a process may have {host.descriptors:,}"
    if host.descriptors >= _FILES:
        yield Finding("descriptors", Verdict.OK, text)
    else:
        mend = "LimitNOFILE=65536 in the service's unit, or `ulimit -n 65536` before the start"
        yield Finding("descriptors", Verdict.WARNING, f"{text}, {_FILES:,} are better: each client has one", mend)


def _address_space(host: Host) -> Iterator[Finding]:
    if host.address_space is None:
        yield Finding("address space", Verdict.OK, "unlimited")
    else:
        text = f"limited to {size(host.address_space)}: the map of a store needs more, though not in memory"
        yield Finding("address space", Verdict.BAD, text, "`ulimit -v unlimited` before the start, no LimitAS=")


def _memory(host: Host) -> Iterator[Finding]:
    if host.memory is None:
        return
    text = f"{size(host.memory)} available"
    if host.memory >= _MEMORY:
        yield Finding("memory", Verdict.OK, text)
    else:
        yield Finding("memory", Verdict.WARNING, f"{text}, {size(_MEMORY)} are better", "end what else runs here")


def _disk(host: Host) -> Iterator[Finding]:
    if host.free_bytes is not None:
        wanted = max(_BYTES, (host.files or 0) * _BYTES_PER_FILE)
        text = f"{size(host.free_bytes)} free"
        if host.free_bytes >= wanted:
            yield Finding("disk", Verdict.OK, text)
        else:
            verdict = Verdict.BAD if host.free_bytes < wanted // 10 else Verdict.WARNING
            mend = "make room, or move the state folder: --state FOLDER"
            yield Finding("disk", verdict, f"{text}, {size(wanted)} are better", mend)
    if host.free_inodes is not None and host.free_inodes < _INODES:
        yield Finding(
            "inodes", Verdict.BAD, f"{host.free_inodes:,} free", "remove files there, or move the state folder"
        )


def _filesystem(host: Host) -> Iterator[Finding]:
    if host.filesystem in REMOTE:
        text = f"the state folder is on {host.filesystem}: a memory-mapped store is not safe there"
        yield Finding("file system", Verdict.BAD, text, "put it on a local disk: --state FOLDER")
    elif host.filesystem:
        yield Finding("file system", Verdict.OK, host.filesystem)


def _clock(host: Host) -> Iterator[Finding]:
    if host.synchronised is None:
        return
    if host.synchronised:
        yield Finding("clock", Verdict.OK, "synchronised")
    else:
        text = "not synchronised: nothing here compares clocks, but `as_of` and logs tell people the time of this host"
        yield Finding("clock", Verdict.WARNING, text, "timedatectl set-ntp true, or install chrony")
