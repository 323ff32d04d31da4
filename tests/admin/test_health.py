"""What is said of a host, from readings."""

from __future__ import annotations

import attrs
import pytest

from fustor.admin.health import REMOTE, Host, Verdict, findings

#: A host on which all is well.
FIT = Host(
    watches=1 << 20,
    instances=128,
    queued=16_384,
    descriptors=65_536,
    backlog=4096,
    memory=8 << 30,
    free_bytes=100 << 30,
    free_inodes=1 << 20,
    filesystem="ext4",
    synchronised=True,
    directories=500_000,
    files=10_000_000,
)


def said(**readings: object) -> dict[str, tuple[Verdict, str, str]]:
    """What differs from a host that is fit: name → verdict, text, mend."""
    host = attrs.evolve(FIT, **readings)  # type: ignore[arg-type]
    return {one.name: (one.verdict, one.text, one.mend) for one in findings(host) if one.verdict is not Verdict.OK}


def test_a_fit_host_has_nothing_to_mend() -> None:
    assert said() == {}
    assert all(one.mend == "" for one in findings(FIT))


def test_what_is_not_known_is_not_judged() -> None:
    assert [one.name for one in findings(Host())] == ["address space"]


@pytest.mark.parametrize(
    ("readings", "name", "verdict", "mend"),
    [
        ({"watches": 500_000}, "inotify watches", Verdict.WARNING, "sysctl -w fs.inotify.max_user_watches=625000"),
        ({"watches": 400_000}, "inotify watches", Verdict.BAD, "sysctl -w fs.inotify.max_user_watches=625000"),
        ({"watches": 8192, "directories": None}, "inotify watches", Verdict.WARNING, "max_user_watches=524288"),
        ({"watches": 8192, "directories": 10}, "", Verdict.OK, ""),
        ({"instances": 8}, "inotify instances", Verdict.WARNING, "fs.inotify.max_user_instances=32"),
        ({"queued": 100}, "inotify queue", Verdict.WARNING, "fs.inotify.max_queued_events=16384"),
        ({"backlog": 128}, "connections waiting", Verdict.WARNING, "net.core.somaxconn=4096"),
        ({"descriptors": 1024}, "descriptors", Verdict.WARNING, "LimitNOFILE"),
        ({"address_space": 1 << 32}, "address space", Verdict.BAD, "ulimit -v unlimited"),
        ({"memory": 1 << 29}, "memory", Verdict.WARNING, "end what else"),
        ({"free_bytes": 1 << 30}, "disk", Verdict.WARNING, "--state"),
        ({"free_bytes": 100 << 20}, "disk", Verdict.BAD, "--state"),
        ({"free_bytes": 2 << 30, "files": None}, "", Verdict.OK, ""),
        ({"free_inodes": 7}, "inodes", Verdict.BAD, "remove files"),
        ({"free_inodes": None}, "", Verdict.OK, ""),
        ({"synchronised": False}, "clock", Verdict.WARNING, "timedatectl"),
        *(({"filesystem": name}, "file system", Verdict.BAD, "local disk") for name in sorted(REMOTE)),
    ],
)
def test_each_fault_is_named_with_what_mends_it(
    readings: dict[str, object], name: str, verdict: Verdict, mend: str
) -> None:
    found = said(**readings)
    assert set(found) == ({name} if name else set())
    if name:
        assert found[name][0] is verdict
        assert mend in found[name][2]
