"""
A closed loop of keep-alive HTTP clients in one process, on epoll: enough to keep one worker busy.

Counts answers that are not 200 apart; stops by itself.
"""

from __future__ import annotations

import select
import socket
import time
from typing import Any


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` of the sorted values lie; 0 for none."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def closed_loop(address: tuple[str, int], target: str, *, clients: int, seconds: float) -> dict[str, Any]:
    """Each client asks for ``target`` again as soon as it has its answer."""
    request = f"GET {target} HTTP/1.1\r\nHost: fustor\r\n\r\n".encode()
    poll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    buffers: dict[int, bytearray] = {}
    wanted: dict[int, int] = {}
    began: dict[int, float] = {}
    latencies: list[float] = []
    bad = size = 0
    for _ in range(clients):
        made = socket.create_connection(address)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        fd = made.fileno()
        sockets[fd], buffers[fd], wanted[fd] = made, bytearray(), 0
        poll.register(fd, select.EPOLLIN)
        began[fd] = time.perf_counter()
        made.sendall(request)
    start = time.perf_counter()
    while (now := time.perf_counter()) - start < seconds:
        for fd, _ in poll.poll(0.2):
            data = sockets[fd].recv(1 << 18)
            if not data:
                raise ConnectionResetError("the server closed a connection")
            buffer = buffers[fd]
            buffer += data
            if not wanted[fd]:
                end = buffer.find(b"\r\n\r\n")
                if end < 0:
                    continue
                head = bytes(buffer[:end]).lower()
                bad += not head.startswith(b"http/1.1 200")
                at = head.index(b"content-length:")
                wanted[fd] = end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(buffer) >= wanted[fd]:
                now = time.perf_counter()
                latencies.append(now - began[fd])
                size = wanted[fd]
                buffer.clear()
                wanted[fd] = 0
                began[fd] = now
                sockets[fd].sendall(request)
    elapsed = time.perf_counter() - start
    for made in sockets.values():
        made.close()
    latencies.sort()
    return {
        "clients": clients,
        "seconds": round(elapsed, 2),
        "requests_per_second": round(len(latencies) / elapsed),
        "p50_ms": round(percentile(latencies, 0.5) * 1e3, 3),
        "p99_ms": round(percentile(latencies, 0.99) * 1e3, 3),
        "not_200": bad,
        "answer_bytes": size,
    }
