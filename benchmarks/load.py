"""
Many keep-alive HTTP clients, each asking again as soon as it has its answer: wrk when it is installed, else our own.

Our own is one process on epoll, enough to keep one worker busy; a figure taken with it says so, for it may be the
client that was measured. Answers that have another status than expected are counted, and make the figure void.
"""

from __future__ import annotations

import re
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from benchmarks.errors import WrongAnswerError
from benchmarks.figures import percentile

__all__ = ["Load", "closed_loop", "parse_wrk", "percentile", "run_load"]

_WRK_SCRIPT = """\
local targets = {}
for line in io.lines("%s") do targets[#targets + 1] = line end
local at = 0
request = function()
  at = at %% #targets + 1
  return wrk.format(nil, targets[at])
end
"""
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@attrs.frozen
class Load:
    """Attributes: answers; requests a second; p50 and p99 in seconds; tool that made the load."""

    answers: int
    rate: float
    p50: float
    p99: float
    tool: str


def run_load(
    address: tuple[str, int],
    targets: Sequence[str],
    *,
    clients: int,
    seconds: float,
    headers: Mapping[str, str],
) -> Load:
    """
    Ask for ``targets`` in turn.

    Raises:
        WrongAnswerError: an answer was not 200, or a connection broke.
    """
    if shutil.which("wrk") is None:
        found = closed_loop(address, targets, clients=clients, seconds=seconds, headers=headers)
        if found["not_200"]:
            raise WrongAnswerError(f"{found['not_200']} answers were not 200")
        return Load(
            found["answers"], found["requests_per_second"], found["p50_ms"] / 1e3, found["p99_ms"] / 1e3, "own client"
        )
    with tempfile.TemporaryDirectory() as folder:
        command = ["wrk", "--threads", "1", "--connections", str(clients), "--duration", f"{round(seconds)}s"]
        command += ["--latency", *(f"--header={name}: {value}" for name, value in headers.items())]
        if len(targets) > 1:
            words, script = Path(folder, "targets"), Path(folder, "targets.lua")
            words.write_text("\n".join(targets) + "\n")
            script.write_text(_WRK_SCRIPT % words)
            command += ["--script", str(script)]
        host, port = address
        done = subprocess.run(
            [*command, f"http://{host}:{port}{targets[0]}"], capture_output=True, text=True, timeout=seconds + 60
        )
    if done.returncode != 0:
        raise WrongAnswerError(f"wrk: {done.stderr.strip() or done.stdout.strip()}")
    return parse_wrk(done.stdout)


def parse_wrk(text: str) -> Load:
    """
    What wrk 4 printed with ``--latency``.

    Raises:
        WrongAnswerError: it counted errors, or printed something else.
    """
    trouble = re.search(r"(Non-2xx or 3xx responses: \d+|Socket errors: .*)", text)
    if trouble:
        raise WrongAnswerError(f"wrk: {trouble[1]}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    shares = {share: float(number) * _UNITS[unit] for share, number, unit in re.findall(_PERCENT, text)}
    answers = re.search(r"(?m)^\s+(\d+) requests in", text)
    if rate is None or answers is None or not {"50", "99"} <= shares.keys():
        raise WrongAnswerError(f"wrk printed something else: {text[:200]!r}")
    return Load(int(answers[1]), float(rate[1]), shares["50"], shares["99"], "wrk")


_PERCENT = r"(?m)^\s+(\d+)%\s+([\d.]+)(us|ms|s|m)$"


def closed_loop(
    address: tuple[str, int],
    target: str | Sequence[str],
    *,
    clients: int,
    seconds: float,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    status: int = 200,
) -> dict[str, Any]:
    """Each client asks for ``target`` (or the next of several) again as soon as it has its answer."""
    targets = [target] if isinstance(target, str) else list(target)
    extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    requests = [f"{method} {one} HTTP/1.1\r\nHost: fustor\r\n{extra}\r\n".encode() for one in targets]
    expected = b"HTTP/1.1 %d " % status
    bodiless = method == "HEAD" or status == 304
    poll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    buffers: dict[int, bytearray] = {}
    began: dict[int, float] = {}
    durations: list[float] = []
    bad = size = asked = 0
    try:
        for _ in range(clients):
            made = socket.create_connection(address)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            fd = made.fileno()
            sockets[fd], buffers[fd] = made, bytearray()
            poll.register(fd, select.EPOLLIN)
            began[fd] = time.perf_counter()
            made.sendall(requests[asked % len(requests)])
            asked += 1
        start = time.perf_counter()
        while (now := time.perf_counter()) - start < seconds:
            for fd, _ in poll.poll(0.2):
                data = sockets[fd].recv(1 << 18)
                if not data:
                    raise WrongAnswerError("the server closed a connection")
                buffer = buffers[fd]
                buffer += data
                if not _whole(buffer, bodiless):
                    continue
                now = time.perf_counter()
                durations.append(now - began[fd])
                bad += not buffer.startswith(expected)
                size = len(buffer)
                buffer.clear()
                began[fd] = now
                sockets[fd].sendall(requests[asked % len(requests)])
                asked += 1
        elapsed = time.perf_counter() - start
    finally:
        for made in sockets.values():
            made.close()
        poll.close()
    durations.sort()
    return {
        "clients": clients,
        "seconds": round(elapsed, 2),
        "answers": len(durations),
        "requests_per_second": round(len(durations) / elapsed),
        "p50_ms": round(percentile(durations, 0.5) * 1e3, 3),
        "p99_ms": round(percentile(durations, 0.99) * 1e3, 3),
        "not_200": bad,
        "answer_bytes": size,
    }


def _whole(buffer: bytearray, bodiless: bool) -> bool:
    """Whether an answer has come completely; requests are not pipelined, so that it is the only one in the buffer."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return False
    if bodiless:
        return True
    head = bytes(buffer[:end]).lower()
    at = head.find(b"content-length:")
    if at < 0:
        return buffer.endswith(b"\r\n0\r\n\r\n")
    return len(buffer) >= end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])
