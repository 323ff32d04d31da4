"""
A Linux of its own, as a process: user-mode Linux (https://docs.kernel.org/virt/uml/user_mode_linux_howto_v2.html).

It sees the files of this machine, read only, and has its own memory, processes and control groups. For what the kernel
of this machine does not offer.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

KERNEL = shutil.which("linux.uml")
#: Seconds that everything in it may take.
PATIENCE = 900
#: The system manager of this machine, if it has one, which can be the guest's.
SYSTEMD = next(filter(os.path.exists, ("/lib/systemd/systemd", "/usr/lib/systemd/systemd")), None)
_INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /mnt
mkdir /mnt/home /mnt/tmp /mnt/groups
export {environment}
cd {folder}
{python} -c 'import fcntl, socket, struct
with socket.socket() as s: fcntl.ioctl(s, 0x8914, struct.pack("16sh22x", b"lo", 1))'
"""
_ALONE = """mount -t cgroup2 groups /mnt/groups
echo "+memory +cpu" > /mnt/groups/cgroup.subtree_control
{command}
echo "ended with code $?"
echo o > /proc/sysrq-trigger
sleep 60
"""
#: systemd with nothing but the command, whose end is the end of the guest.
_MANAGED = """mkdir /mnt/checkout
mount --bind {folder} /mnt/checkout
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mkdir -p {folder}
mount --bind /mnt/checkout {folder}
mkdir -p /run/systemd/system
cat > /run/command <<'.'
cd {folder}
{command}
echo "ended with code $?"
echo o > /proc/sysrq-trigger
.
cat > /run/systemd/system/command.service <<'.'
[Unit]
DefaultDependencies=no
[Service]
ExecStart=/bin/sh /run/command
PassEnvironment={names}
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
.
exec {systemd} --unit=command.service --log-target=null --show-status=no
"""


def run(folder: Path, command: Sequence[str], python: str, checkout: Path, *, managed: bool = False) -> tuple[int, str]:
    """
    Run a command in a guest.

    Args:
        folder: for its start.
        command: runs in ``checkout``. It finds control groups at ``/mnt/groups``, and room at ``/mnt/tmp``.
        python: any interpreter.
        managed: by systemd, which runs there; control groups are then where it has them.

    Returns:
        Exit code, and all that it said.
    """
    assert KERNEL is not None
    init = folder / "init"
    path = f"{os.path.dirname(python)}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    variables = {"PATH": path, "HOME": "/mnt/home", "TMPDIR": "/mnt/tmp", "PYTHONDONTWRITEBYTECODE": "1"}
    environment = " ".join(f"{name}={value}" for name, value in variables.items())
    script = _INIT + (_MANAGED if managed else _ALONE)
    init.write_text(
        script.format(
            environment=environment,
            names=" ".join(variables),
            folder=checkout,
            python=python,
            command=" ".join(command),
            systemd=SYSTEMD,
        )
    )
    init.chmod(0o755)
    words = ["mem=1536M", "rootfstype=hostfs", "ro", f"init={init}", "cgroup_no_v1=all", "quiet", "random.trust_cpu=on"]
    words += ["con=null", "con0=null,fd:1", f"uml_dir={folder}"]
    process = subprocess.Popen(
        [KERNEL, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its processes are processes of this machine
        said = f"not ended within {PATIENCE} s\n{process.communicate()[0]}"
    code = said.rpartition("ended with code ")[2].split()
    return int(code[0]) if "ended with code" in said else -1, said
