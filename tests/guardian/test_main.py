"""The program: exit codes, and what is said on stderr."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.guardian.conftest import Side


def refusal(side: Side, *arguments: str) -> tuple[int, str]:
    """Exit code and stderr of a guardian that does not start."""
    process = side.popen(*arguments)
    stderr = process.communicate(timeout=30)[1]
    return process.returncode, stderr.decode()


def test_usage(side: Side) -> None:
    code, said = refusal(side)
    assert code == 2
    assert said.startswith("guardian: usage: ")
    assert refusal(side, "a", "b")[0] == 2


def test_a_bad_configuration_names_the_key(side: Side) -> None:
    code, said = refusal(side, str(side.config(grace="soon")))
    assert code == 2
    assert "grace = 'soon': seconds from 0 to 86400 are accepted" in said


def test_a_missing_run_folder_is_named(side: Side) -> None:
    code, said = refusal(side, str(side.config(run="/nonexistent/run")))
    assert code == 2
    assert "run = '/nonexistent/run': No such file or directory" in said


def test_a_port_in_use_prevents_the_start(side: Side) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = refusal(side, str(side.config(listen={"free": ["127.0.0.1", 0], "http": ["127.0.0.1", port]})))
    assert code == 98
    assert f"listen.http: 127.0.0.1 port {port} is in use" in said
    assert os.listdir(side.run) == ["guardian.lock"]
    assert not (side.log / "control.log").exists()
    side.start(listen={"http": ["127.0.0.1", port]})


def test_a_second_guardian_is_refused_and_harms_nothing(side: Side) -> None:
    first = side.start()
    table = side.table()
    code, said = refusal(side, str(side.config(beat_timeout=1)))
    side.started.reverse()
    assert code == 100
    assert f"already running (pid {first.pid})" in said
    assert side.table() == table
    assert (side.run / "guardian.pid").read_text() == f"{first.pid}\n"
    assert side.ask("status")["counters"]["control_starts"] == 1


def test_it_starts_without_standard_descriptors(side: Side) -> None:
    main = Path(__file__).resolve().parents[2] / "fustor" / "guardian" / "main.py"
    argv = ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-I", "-S", str(main), str(side.config())]
    side.started.append(subprocess.Popen(argv))
    side.spawn("a", sys.executable, "-I", "-S", "-c", "import sys; print(sys.stdin.read() == '', file=sys.stderr)")
    assert side.event("a")["code"] == 0
    assert (side.log / "a.log").read_text() == "True\n"
    side.guardian.terminate()
    assert side.guardian.wait(30) == 0


def test_it_imports_little(side: Side) -> None:
    root = Path(__file__).resolve().parents[2]
    script = f"import sys; sys.path.append({str(root)!r}); import fustor.guardian.keeper; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, check=True, timeout=60)
    heavy = {"typing", "dataclasses", "logging", "subprocess", "argparse", "threading", "asyncio", "traceback", "attrs"}
    assert heavy.isdisjoint(done.stdout.decode().split())
