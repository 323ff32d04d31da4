"""Very many names in one directory: complete, right, in bounded memory, while everybody else is served and live."""

from __future__ import annotations

import http.client
import os
import threading
from pathlib import Path

from tests.support.cluster import Cluster, Poller, until

NAMES = 200_000
#: Resident memory of a query worker may grow by so much while it sends an answer of 60 MB.
GROWTH = 48 << 20


def resident(pid: int) -> int:
    """Peak resident memory of a process in bytes, proc(5)."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))


def test_two_hundred_thousand_names(cluster: Cluster, place: Path) -> None:
    made = cluster.root.with_name("made")
    made.mkdir()
    at = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
    for number in range(NAMES):
        os.close(os.open(f"{number * 7919 % NAMES:06d}", os.O_WRONLY | os.O_CREAT, dir_fd=at))
    made.rename(place / "huge")
    with Poller(cluster):
        cluster.settled()
    workers = [cluster.pid(f"query.{number}") for number in range(2)]
    before = [resident(pid) for pid in workers]
    path = f"/fs/tree?path=/{place.name}/huge"
    connection = http.client.HTTPConnection(*cluster.address, timeout=60)
    connection.request("GET", path)
    response = connection.getresponse()
    first = response.read(1000)
    # While one client takes its time over the long answer, small ones go on.
    with Poller(cluster, b"/" + os.fsencode(place.name) + b"/huge/000000") as poller:
        until(lambda: len(poller.answers) >= 5, "small answers")
    rest = response.read()
    connection.close()
    assert len(first + rest) > 40 << 20
    assert (first + rest).count(b'"content_type":"file"') == NAMES
    assert [now - then < GROWTH for now, then in zip(map(resident, workers), before, strict=True)] == [True, True]

    # Live in the middle of it.
    os.unlink("100000", dir_fd=at)
    os.rename("150000", "a new name", src_dir_fd=at, dst_dir_fd=at)
    os.close(os.open("000000x", os.O_WRONLY | os.O_CREAT, dir_fd=at))
    os.close(at)
    cluster.settled()
    names = ("100000", "150000", "a%20new%20name", "000000x", "199999")
    assert {name: cluster.get(f"{path}/{name}").status for name in names} == {
        "100000": 404,
        "150000": 404,
        "a%20new%20name": 200,
        "000000x": 200,
        "199999": 200,
    }

    # Looked at again as a whole while it loses names: what was deleted before the listing was read must not come back.
    deleted = list(range(0, 150_000, 3))
    killed = cluster.kill("watcher.data")

    def delete() -> None:
        for number in deleted:
            if number not in (100_000, 150_000):
                os.unlink(place / "huge" / f"{number:06d}")

    deleting = threading.Thread(target=delete)
    deleting.start()
    until(lambda: cluster.pid("watcher.data") != killed, "another watcher")
    deleting.join()
    cluster.assert_right()
