"""The main path, as a user has it: start → complete, a small directory, the whole tree, event → visible. Prints
JSON."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks.load import closed_loop, percentile
from benchmarks.machine import machine
from benchmarks.trees import make_tree
from tests.support.cluster import Cluster, until

_FIND = "%f %y %s %T@ %C@ %i %m %U %G %n\\n"


def measure_find(root: Path) -> dict[str, Any]:
    """``find -printf`` of the same fields: the walk that needs no index."""
    start = time.perf_counter()
    done = subprocess.run(["find", str(root), "-printf", _FIND], capture_output=True, check=True)
    seconds = time.perf_counter() - start
    return {"seconds": round(seconds, 3), "entries_per_second": round(done.stdout.count(b"\n") / seconds)}


def cpu_seconds(cluster: Cluster) -> dict[str, float]:
    """CPU time of each payload so far."""
    tick = os.sysconf("SC_CLK_TCK")
    found = {}
    for name in cluster.payloads():
        fields = Path(f"/proc/{cluster.pid(name)}/stat").read_text().rsplit(") ", 1)[1].split()
        found[name] = (int(fields[11]) + int(fields[12])) / tick
    return found


def memory_mib(cluster: Cluster) -> dict[str, float]:
    """Private memory (USS) of each payload, MiB."""
    found = {}
    for name in cluster.payloads():
        rollup = Path(f"/proc/{cluster.pid(name)}/smaps_rollup").read_text().splitlines()
        private = sum(int(line.split()[1]) for line in rollup if line.startswith("Private_"))
        found[name] = round(private / 1024, 1)
    return found


def measure_scan(root: Path, state: Path, entries: int) -> tuple[Cluster, dict[str, Any]]:
    """``fustor up`` until everything is complete."""
    start = time.perf_counter()
    cluster = Cluster(root, state)
    answered = time.perf_counter() - start
    until(lambda: cluster.tree(max_depth=0)["complete"], "a complete tree", 3600)
    complete = time.perf_counter() - start
    used = cpu_seconds(cluster)
    store = sum(f.stat().st_blocks * 512 for f in (state / "fusion/views").rglob("*") if f.is_file())
    return cluster, {
        "first_answer_seconds": round(answered, 3),
        "complete_seconds": round(complete, 3),
        "entries_per_second": round(entries / complete),
        "cpu_us_per_entry": {name: round(seconds / entries * 1e6, 2) for name, seconds in used.items()},
        "private_mib": memory_mib(cluster),
        "store_bytes_per_entry": round(store / entries, 1),
    }


def measure_whole(cluster: Cluster, entries: int) -> dict[str, Any]:
    """The whole tree in one answer."""
    with socket.create_connection(cluster.address) as connection:
        start = time.perf_counter()
        connection.sendall(b"GET /fs/tree?path=/ HTTP/1.1\r\nHost: fustor\r\nConnection: close\r\n\r\n")
        data = connection.recv(1 << 20)
        first = time.perf_counter() - start
        size = len(data)
        tail = data
        while data := connection.recv(1 << 20):
            size += len(data)
            tail = data
        seconds = time.perf_counter() - start
    return {
        "seconds": round(seconds, 3),
        "first_byte_ms": round(first * 1e3, 2),
        "megabytes": round(size / 1e6, 1),
        "entries_per_second": round(entries / seconds),
        "whole": tail.endswith(b"0\r\n\r\n"),
    }


def measure_events(cluster: Cluster, samples: int) -> dict[str, Any]:
    """From the return of the system call that creates a file to the first answer that has it."""
    folder = cluster.root / "events"
    folder.mkdir()
    cluster.settled()
    latencies = []
    connection = socket.create_connection(cluster.address)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for number in range(samples):
        path = folder / f"f{number}"
        request = f"HEAD /fs/tree?path={quote('/events/' + path.name)}&max_depth=0 HTTP/1.1\r\nHost: fustor\r\n\r\n"
        path.touch()
        start = time.perf_counter()
        while True:
            connection.sendall(request.encode())
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += connection.recv(65536)
            if answer.startswith(b"HTTP/1.1 200"):
                break
            if time.perf_counter() - start > 30:
                raise TimeoutError(f"{path} never became visible")
        latencies.append(time.perf_counter() - start)
    connection.close()
    latencies.sort()
    return {
        "samples": samples,
        "p50_ms": round(percentile(latencies, 0.5) * 1e3, 2),
        "p99_ms": round(percentile(latencies, 0.99) * 1e3, 2),
        "worst_ms": round(latencies[-1] * 1e3, 2),
    }


def main() -> None:
    """Run all measures; the tree and all state are removed again."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.main_path", description=__doc__)
    parser.add_argument("--files", type=int, default=100_000, help="files in the tree (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--samples", type=int, default=300, help="events measured one by one (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of the request load (default: %(default)s)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fustor-bench-"))
    result: dict[str, Any] = {
        "benchmark": "main_path",
        "machine": machine(),
        "files": options.files,
        "seed": options.seed,
    }
    cluster: Cluster | None = None
    try:
        root = folder / "root"
        print("making the tree …", file=sys.stderr)
        entries = make_tree(str(root), options.files, seed=options.seed)
        measure_find(root)  # once for the caches
        print("measuring …", file=sys.stderr)
        before = measure_find(root)
        cluster, scan = measure_scan(root, folder / "state", entries)
        result["find"] = [before, measure_find(root)]
        result["scan"] = scan
        result["whole_tree"] = [measure_whole(cluster, entries) for _ in range(3)]
        directory = next(node for node in cluster.tree(max_depth=2)["children"] if node.get("children"))
        target = "/fs/tree?path=" + quote(directory["children"][0]["path"])
        result["small_directory"] = [
            closed_loop(cluster.address, target, clients=n, seconds=options.seconds) for n in (1, 16)
        ]
        result["event_to_visible"] = measure_events(cluster, options.samples)
    finally:
        if cluster is not None:
            cluster.down()
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
