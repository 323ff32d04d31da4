"""The descriptor that is passed, between two ends."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from inotify_simple import flags

from actors.scanner.channel import WatcherChannel
from actors.watcher import inotify
from protocols.codec import pack
from tests.support.watching import WatchingSide


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[WatchingSide]:
    made = WatchingSide(tmp_path, epoch=7)
    yield made
    made.close()


@pytest.fixture
def channel(watching: WatchingSide) -> Iterator[WatcherChannel]:
    made = connected(watching)
    yield made
    made.close()


def connected(watching: WatchingSide) -> WatcherChannel:
    accepting = threading.Thread(target=watching.accept)
    accepting.start()
    made = WatcherChannel.connect(watching.channel_path, 3, "r")
    accepting.join()
    return made


def watch(channel: WatcherChannel, folder: Path) -> int:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return channel.add_watch(fd)
    finally:
        os.close(fd)


def test_the_watcher_hears_who_we_are(watching: WatchingSide) -> None:
    heard: list[dict[str, int]] = []
    accepting = threading.Thread(target=lambda: heard.append(watching.accept()))
    accepting.start()
    channel = WatcherChannel.connect(watching.channel_path, 3, "r")
    accepting.join()
    channel.close()
    assert heard == [{"slot": 3, "pid": os.getpid(), "rules": "r"}]
    assert channel.epoch == 7
    assert channel.mask == inotify.MASK


def test_a_watch_added_here_is_read_there(watching: WatchingSide, channel: WatcherChannel, tmp_path: Path) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    wd = watch(channel, folder)
    assert wd > 0
    (folder / "new").touch()
    assert watching.events()[0] == (wd, int(flags.CREATE), 0, b"new")


def test_the_same_directory_has_the_same_descriptor_whatever_its_name(
    watching: WatchingSide, channel: WatcherChannel, tmp_path: Path
) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    wd = watch(channel, folder)
    assert watch(channel, folder.rename(tmp_path / "renamed")) == wd


def test_watches_stay_when_the_scanner_goes(watching: WatchingSide, channel: WatcherChannel, tmp_path: Path) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    wd = watch(channel, folder)
    channel.close()
    assert watching.scanner_is_gone()
    (folder / "new").touch()
    assert watching.events()[0][0] == wd


def test_watches_end_with_the_watcher_and_all_its_scanners(watching: WatchingSide, tmp_path: Path) -> None:
    """Nothing leaks: another instance begins with none."""
    first = connected(watching)
    watch(first, tmp_path)
    first.close()
    watching.close()
    again_dir = tmp_path / "again"
    again_dir.mkdir()
    again = WatchingSide(again_dir)
    (tmp_path / "new").touch()
    assert again.events() == []
    again.close()


def test_a_file_is_refused_by_number(channel: WatcherChannel, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    assert channel.add_watch(fd) == -errno.ENOTDIR
    os.close(fd)
    assert channel.add_watch(fd) == -errno.ENOENT


def test_a_thread_that_comes_late_finds_the_channel_closed(channel: WatcherChannel, tmp_path: Path) -> None:
    channel.close()
    assert watch(channel, tmp_path) == -errno.EBADF


def test_the_end_of_the_watcher_is_the_end_of_the_file(watching: WatchingSide, channel: WatcherChannel) -> None:
    watching.hang_up()
    assert channel.connection.recv(1) == b""


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        WatcherChannel.connect(str(tmp_path / "nobody"), 0)


@pytest.mark.parametrize("greeting", [b"", b"\xc1", pack({"epoch": 1}), pack([1, 2]), pack({"epoch": "x", "mask": 1})])
@pytest.mark.parametrize("with_descriptor", [True, False])
def test_a_greeting_that_is_none(tmp_path: Path, greeting: bytes, with_descriptor: bool) -> None:
    """The descriptor that came with it is given back, the connection is closed, and the error names the socket."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen(1)
        before = set(os.listdir("/proc/self/fd"))

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                if greeting:
                    socket.send_fds(connection, [greeting], [listener.fileno()] if with_descriptor else [])

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(ConnectionResetError, match=str(tmp_path)):
            WatcherChannel.connect(path, 0)
        thread.join()
        assert set(os.listdir("/proc/self/fd")) == before
