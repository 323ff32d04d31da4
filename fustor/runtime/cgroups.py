"""
Limits that the kernel holds for a process and all its children: control groups, version 2.

In a folder of control groups that is ours each payload has a group, with its bound on memory and its weight for the
processor, and the shell has one that bounds nothing, for a group that has groups below may hold no process itself. A
group without memory ends alone, all of it at once. So this is better than limits of single processes
(:mod:`fustor.runtime.rlimits`), which hold all the same; and it needs a folder that was handed to us, by systemd's
``Delegate=`` or by whoever writes its path into the configuration. Sources: cgroups(7),
Documentation/admin-guide/cgroup-v2.rst, https://systemd.io/CGROUP_DELEGATION.

What this module does not do: measure, or make the folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable

import attrs

from fustor.runtime.delegation import CONTROL, DELEGATED, PREFIX, SHELL, own, read, write
from protocols.errors import ConfigError, MachineError
from protocols.limits import ProcessLimits

#: What a folder may be said to be: what systemd delegated, if it did; none.
AUTO, OFF = "auto", "off"
#: Shares of the processor, cgroup-v2.rst (``cpu.weight``): the shell has ten times the default.
SHELL_WEIGHT = 1000
#: Of a folder: the processes in it.
PROCESSES = "cgroup.procs"


def _parent(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if value not in (AUTO, OFF) and (not value.startswith("/") or os.path.normpath(value) != value):
        raise ConfigError(attribute.name, value, f"{AUTO!r}, {OFF!r} or the absolute path of a folder is accepted")


@attrs.frozen
class GroupLimits:
    """
    ``[limits.groups]``

    Attributes:
        parent: folder of control groups (version 2) in which each process of this side has its own; ``auto``: what the
            service manager has delegated, if it has; ``off``: none.
    """

    parent: str = attrs.field(default=AUTO, validator=_parent)


class Groups:
    """
    Args:
        parent: the folder; both sides may share it.
        shell: pids of the shell.
        alone: everybody in the folder itself is of this side; else nobody may be there.

    Raises:
        MachineError: it is not ours to write, or has no memory controller.
    """

    def __init__(self, parent: str, shell: Iterable[int], *, alone: bool = False) -> None:
        self.parent = parent
        self._alone = alone
        try:
            self._controllers = read(os.path.join(parent, "cgroup.controllers")).split()
            if "memory" not in self._controllers:
                raise MachineError(f"{parent}: control groups here have no memory controller")
            self.keep(shell)
        except OSError as error:
            advice = "; no process may be in it" if error.errno == errno.EBUSY else ""
            raise MachineError(f"{parent}: not for our control groups: {error.strerror}{advice}") from None

    def keep(self, shell: Iterable[int]) -> None:
        """
        Bring the shell into its group, from wherever it was started, and have every group below the folder bounded,
        also after :func:`fustor.runtime.delegation.give_back`: then all have lost their bounds.

        Raises:
            OSError: it can't be.
        """
        for pid in shell:
            self._enter(SHELL, pid)
        if self._alone:
            # As a template is, which was started before us: groups below get no controllers otherwise.
            for stray in read(os.path.join(self.parent, PROCESSES)).split():
                self._enter(SHELL, int(stray))
        wanted = [f"+{name}" for name in ("memory", "cpu") if name in self._controllers]
        write(os.path.join(self.parent, CONTROL), " ".join(wanted))
        self._weigh(SHELL, SHELL_WEIGHT)

    def impose(self, name: str, pid: int, limits: ProcessLimits) -> str:
        """
        Bring a payload into its group, and bound that.

        Returns:
            What could not be done, and why; empty when all is well, or the process is gone.
        """
        group = PREFIX + name
        try:
            self._enter(group, pid)
            self._set(group, "memory.oom.group", "1")
            self._set(group, "memory.max", str(limits.data_bytes))
            self._weigh(group, max(1, 100 - 5 * limits.nice))
        except OSError as error:
            return f"control group {group}: {error.strerror}"
        return ""

    def kills(self, name: str) -> int:
        """How many processes of a payload's group the kernel has killed because that had no more memory."""
        try:
            words = read(os.path.join(self.parent, PREFIX + name, "memory.events")).split()
            return int(words[words.index("oom_kill") + 1])
        except (OSError, ValueError, IndexError):
            return 0

    def remove(self, name: str) -> None:
        """The payload is wanted no more. A group in which a process can't be killed stays."""
        with contextlib.suppress(OSError):
            os.rmdir(os.path.join(self.parent, PREFIX + name))

    def _enter(self, group: str, pid: int) -> None:
        os.makedirs(os.path.join(self.parent, group), exist_ok=True)
        try:
            self._set(group, PROCESSES, str(pid))
        except ProcessLookupError:
            return  # it has ended

    def _weigh(self, group: str, weight: int) -> None:
        with contextlib.suppress(FileNotFoundError):  # there may be no controller for the processor
            self._set(group, "cpu.weight", str(weight))

    def _set(self, group: str, file: str, value: str) -> None:
        write(os.path.join(self.parent, group, file), value)


def find(parent: str, shell: Iterable[int]) -> Groups | None:
    """
    The groups of this side, with the shell in its own.

    Args:
        parent: as :class:`GroupLimits` has it.
        shell: pids of the shell.

    Returns:
        None: there are none, and nobody said that there should be.

    Raises:
        MachineError: there can't be any where they should be.
    """
    if parent == OFF:
        return None
    if parent != AUTO:
        return Groups(parent, shell)
    ours = own()
    return Groups(ours, shell, alone=True) if ours and _is_delegated(ours) else None


def _is_delegated(folder: str) -> bool:
    try:
        return os.getxattr(folder, DELEGATED) == b"1"
    except OSError:
        return False
