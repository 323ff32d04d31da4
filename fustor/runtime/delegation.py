"""
Which folder of control groups is ours, and whether a service manager can start the next guardian in it.

A process may be in a folder itself only while the groups below have no controllers (cgroups(7), "no internal
processes"), and systemd starts the next guardian of a unit in the folder of that unit. So whoever outlives a guardian
gives the controllers back, and with them all bounds, until the next guardian has joined its group.
Source: https://systemd.io/CGROUP_DELEGATION.

Standard library only: every payload needs it. What this module does not do: bound anything (see ``cgroups``).
"""

from __future__ import annotations

import contextlib
import os

#: The group of guardian and control actor, and what the names of the others begin with.
SHELL, PREFIX = "fustor-shell", "fustor-payload-"
#: Set by systemd on what it delegates.
DELEGATED = "user.delegate"
#: Of the folder of groups: which controllers those have.
CONTROL = "cgroup.subtree_control"


def own() -> str:
    """The folder in which the groups of this side are, or would be; empty when there is none of version 2."""
    group = _group()
    name = os.path.basename(group)
    return os.path.dirname(group) if name == SHELL or name.startswith(PREFIX) else group


def give_back() -> None:
    """Let processes be started in the folder of our groups; nothing happens when this process is in none of them."""
    folder, group = own(), _group()
    if folder != group:
        for controller in ("cpu", "memory"):
            with contextlib.suppress(OSError):  # it has none
                write(os.path.join(folder, CONTROL), f"-{controller}")


def _group() -> str:
    try:
        mounts = [line.split() for line in read("/proc/self/mountinfo").splitlines()]
        # proc_pid_mountinfo(5): what follows the separator is type, source, options; field 5 is where it is mounted.
        points = [words[4] for words in mounts if "cgroup2" in words[words.index("-") :]]
        paths = [line[3:] for line in read("/proc/self/cgroup").splitlines() if line.startswith("0::")]
    except OSError:
        return ""
    return os.path.normpath(points[0] + paths[0]) if points and paths else ""


def read(path: str) -> str:
    """
    The text of a file of control groups, or of /proc.

    Raises:
        OSError: it can't be read.
    """
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def write(path: str, text: str) -> None:
    """
    Write to a file of control groups.

    Raises:
        OSError: the kernel refuses it, or offers no such file.
    """
    # Without O_CREAT: a file that the kernel does not offer must not come into being on a folder that is none of its.
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
