"""
What a parser does with its work: directories in, attributes out. Blocks for as long as the storage, or a format, does.

What this module does not do: no sockets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import msgspec

from actors.parser.cache import Cache
from actors.parser.listing import Place, identity_of, open_file
from actors.parser.rule import Read, Rule
from fustor.runtime.actor import Host
from fustor.runtime.handling import Handling
from fustor.selection.forbidden import Forbidden, item_of
from protocols.data import Attributes
from protocols.errors import ProtocolError
from protocols.limits import EXIT_MEMORY
from protocols.parsing import ERROR, ParserDir, check_attributes

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode
#: Characters of what is said of a file that could not be read.
_MOST_WHY = 200

#: Name, identity, attributes as JSON text.
Entry = tuple[bytes, int, int, int, int, bytes]


class Worker:
    """
    Args:
        rule: what is to be found.
        place: the files.
        cache: what was read before.
        note: where the file in hand is written down.
        forbidden: what must not be touched.
        name: of the parser.
        host: whose counters count ``files``, ``read``, ``kept`` (known from before), ``failed`` and ``directories``.
        most: entries of one part.
    """

    def __init__(
        self,
        name: str,
        rule: Rule,
        place: Place,
        cache: Cache,
        note: Handling,
        forbidden: Forbidden,
        host: Host,
        most: int,
    ) -> None:
        self._name, self._rule, self._place, self._cache, self._most = name, rule, place, cache, most
        self._note, self._forbidden, self._counters = note, forbidden, host.counters
        for counter in ("directories", "files", "read", "kept", "failed"):
            self._counters.setdefault(counter, 0)

    def look(self, work: ParserDir) -> Iterator[Attributes]:
        """What is found in a directory, in parts; nothing when it can't be opened."""
        if work.path in self._forbidden.directories:
            return
        self._note.begin(item_of(work.path))
        try:
            fd = self._place.open(work.path)
        except OSError:
            self._note.end()
            return  # it has gone elsewhere, or the scanners say why
        try:
            yield from self._look(work, fd)
        finally:
            os.close(fd)
            self._note.end()
            self._counters["directories"] += 1

    def _look(self, work: ParserDir, fd: int) -> Iterator[Attributes]:
        prefix = work.path + b"/" if work.path else b""
        quarantined = self._forbidden.names.get(work.path, frozenset())
        whole = work.names is None
        found: list[Entry] = []
        lo = b""
        named, counters = self._rule.named, self._counters
        for name, status in self._place.files(fd, work.path, work.names):
            counters["files"] += 1
            said = named(prefix + name)
            if said is None:
                if not whole:
                    found.append((name, *identity_of(status), b""))
                continue
            if len(found) >= self._most:
                yield Attributes(work.dir, self._name, tuple(found), lo, name if whole else lo)
                found, lo = [], name if whole else lo
            if name in quarantined:
                text = _encode({**said, ERROR: "quarantined"})
            else:
                text = self._text(fd, name, status, said)
            found.append((name, *identity_of(status), text))
        yield Attributes(work.dir, self._name, tuple(found), lo, None if whole else lo)

    def _text(self, fd: int, name: bytes, status: os.stat_result, said: dict[str, str]) -> bytes:
        """What is found in a file and its path; empty for nothing."""
        read = self._rule.read
        if read is None or 0 < self._rule.file_bytes < status.st_size:
            return _encode(said)
        identity = identity_of(status)
        text = self._cache.get(identity)
        if text is None:
            self._note.part(name)
            try:
                text = self._read(read, fd, name, status)
            except OSError as error:
                if isinstance(error, FileNotFoundError):
                    return b""
                text = self._failed(error)  # of the storage: it is tried again
            else:
                if text is None:
                    return b""  # it has changed meanwhile: it comes again
                self._cache.put(identity, text)
            finally:
                self._note.part(b"")
        else:
            self._counters["kept"] += 1
        return _encode({**said, **_decode(text)}) if said else text

    def _read(self, read: Read, fd: int, name: bytes, status: os.stat_result) -> bytes | None:
        """
        What a format finds in a file, or why it finds nothing; None: the file is another one by now.

        Raises:
            OSError: it can't be opened or read.
        """
        self._counters["read"] += 1
        try:
            with open(open_file(fd, name), "rb") as file:
                if identity_of(os.fstat(file.fileno())) != identity_of(status):
                    return None
                found = dict(read(file))
                check_attributes(found)
                text = _encode(found)
                if identity_of(os.fstat(file.fileno())) != identity_of(status):
                    return None
                return text
        except MemoryError:
            # At once, for whatever else is done now needs memory; what is in hand stays written down, and is blamed.
            os.write(2, b"out of memory while a file was read\n")
            os._exit(EXIT_MEMORY)
        except OSError:
            raise
        except Exception as error:  # whatever a plug-in raises is said of the file, and of nothing else
            return self._failed(error)

    def _failed(self, error: Exception) -> bytes:
        self._counters["failed"] += 1
        why = str(error) if isinstance(error, ValueError | ProtocolError) else f"{type(error).__name__}: {error}"
        return _encode({ERROR: why.encode("utf-8", "replace").decode()[:_MOST_WHY]})
