"""
Start a parser: ``python -P -m actors.parser``, by a guardian; ``--check`` says whether a configuration is right.

One thread: it says hello to the watcher, takes a work, and answers, until it is stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

import attrs
import zmq

from actors.parser.cache import Cache
from actors.parser.config import ParserActorConfig
from actors.parser.listing import Place
from actors.parser.rule import compile_rule
from actors.parser.worker import Worker
from fustor.runtime.actor import Host, run_blocking_actor
from fustor.runtime.config import structure
from fustor.runtime.handling import note_of
from fustor.runtime.sockets import open_socket
from fustor.selection.denied import denied
from fustor.selection.forbidden import Forbidden
from fustor.selection.patterns import compile_patterns
from protocols.codec import DATA_LIMITS, decode, encode
from protocols.data import Attributes
from protocols.errors import ProtocolError
from protocols.parsing import HELLO_SECONDS, Parsed, ParserHello, ParserWork, cache_name

#: Bytes of one message to the watcher, about; and of one file in it beside its name and attributes.
_MESSAGE_BYTES, _ENTRY_BYTES = 256 << 10, 48


def yield_to_others(nice: int) -> None:
    """
    This thread gives way to others, and only this one: who beats, and who starts a killed guardian's successor, does
    not (setpriority(2): on Linux priorities are those of threads).
    """
    thread = threading.get_native_id()
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, max(nice, os.getpriority(os.PRIO_PROCESS, thread)))


class Parser:
    """The ring around a worker."""

    def __init__(self, config: ParserActorConfig, worker: Worker, cache: Cache, rules: str, host: Host) -> None:
        self._name, self._nice = config.parser.name, config.limits.nice
        self._worker, self._cache, self._rules, self._host = worker, cache, rules, host
        self._incarnation = secrets.token_hex(8)
        self._taken = (0, 0)
        self._hello_due = 0.0
        context = self._context = zmq.Context()
        source = config.source.name
        self._found = open_socket(context, zmq.PUSH, connect=f"ipc://found.{source}", hwm=16)
        self._works = open_socket(
            context, zmq.PULL, connect=f"ipc://parse.{source}.{self._name}", hwm=16, max_size=DATA_LIMITS.size
        )
        self._wake = os.eventfd(0)
        self._waiter = threading.Thread(target=self._wait_for_stop, name="stop", daemon=True)
        self._waiter.start()

    def _wait_for_stop(self) -> None:
        self._host.stop_requested.wait()
        os.eventfd_write(self._wake, 1)

    @property
    def _stopping(self) -> bool:
        return bool(self._host.stop_requested.is_set())

    def run(self) -> None:
        """Work until stopped."""
        yield_to_others(self._nice)
        while not self._stopping:
            self._hello()
            if self._poll(self._works, zmq.POLLIN):
                try:
                    work = decode(self._works.recv(), ParserWork, limits=DATA_LIMITS)
                except ProtocolError as error:
                    self._host.log.warning("work refused", extra={"error": str(error)})
                    continue
                if work.incarnation == self._incarnation and (work.epoch, work.number) > self._taken:
                    self._taken = work.epoch, work.number
                    self._host.outstanding = True
                    self._do(work)
                    self._host.outstanding = False
        self._cache.commit()
        self._cache.close()
        for one in (self._found, self._works):
            one.close(linger=0)
        self._context.term()
        self._waiter.join()
        os.close(self._wake)

    def _do(self, work: ParserWork) -> None:
        parts: list[Attributes] = []
        size = 0
        for one in work.dirs:
            for part in self._worker.look(one):
                parts.append(part)
                size += sum(_ENTRY_BYTES + len(entry[0]) + len(entry[-1]) for entry in part.found)
                if size >= _MESSAGE_BYTES:
                    if not self._send(work, parts, last=False):
                        return
                    parts, size = [], 0
            self._hello()
        self._cache.commit()
        self._send(work, parts, last=True)

    def _send(self, work: ParserWork, parts: list[Attributes], *, last: bool) -> bool:
        """False: we are to stop. A watcher that takes nothing is waited for."""
        message = encode(
            Parsed(
                parser=self._name,
                incarnation=self._incarnation,
                epoch=work.epoch,
                number=work.number,
                parts=tuple(parts),
                last=last,
            )
        )
        while not self._stopping:
            try:
                self._found.send(message, zmq.NOBLOCK)
                return True
            except zmq.Again:
                self._host.outstanding = False
                self._poll(self._found, zmq.POLLOUT)
                self._host.outstanding = True
        return False

    def _hello(self) -> None:
        now = time.monotonic()
        if now < self._hello_due:
            return
        self._hello_due = now + HELLO_SECONDS
        epoch, taken = self._taken
        hello = ParserHello(
            parser=self._name, incarnation=self._incarnation, rules=self._rules, epoch=epoch, taken=taken
        )
        try:
            self._found.send(encode(hello), zmq.NOBLOCK)
        except zmq.Again:
            return  # no watcher yet: it is started by the same hands as we are

    def _poll(self, one: zmq.Socket[bytes], events: int) -> bool:
        """Until a socket is ready, or a hello is due, or we are to stop; whether it is ready."""
        poller = zmq.Poller()
        poller.register(self._wake, zmq.POLLIN)
        poller.register(one, events)
        wait = max(0.0, self._hello_due - time.monotonic())
        return one in dict(poller.poll(int(1000 * wait) + 1))


def build(config: dict[str, Any]) -> Callable[[Host], None]:
    """
    The parser for one configuration.

    Raises:
        ConfigFaults, ConfigError: it can't be accepted.
    """
    told = structure(ParserActorConfig, config)
    rule = compile_rule(told.parser)
    takes = compile_patterns(told.source)
    forbidden = Forbidden.of(told.quarantined)
    root = os.fsencode(told.source.root)
    denied(told.deny, root)  # refuses a source that lies in a denied directory

    def run(host: Host) -> None:
        # All that decides what is found where; what was released is to be looked at again.
        decides = [rule.digest, attrs.asdict(told.source), attrs.asdict(told.deny), told.again]
        rules = hashlib.blake2b(json.dumps(decides, sort_keys=True).encode(), digest_size=16).hexdigest()
        cache = Cache(
            os.path.join(told.state, cache_name(told.parser.name)), rule.digest, told.limits.cache_bytes, host.log
        )
        place = Place(root, takes, denied(told.deny, root))
        note = note_of(host.name, host.log)
        worker = Worker(told.parser.name, rule, place, cache, note, forbidden, host, told.limits.files_per_message)
        parser = Parser(told, worker, cache, rules, host)
        host.ready(source=told.source.name)
        parser.run()

    return run


def start() -> NoReturn:
    """Be a parser; ends the process."""
    run_blocking_actor("parser", build)


if __name__ == "__main__":
    start()
