"""
The answer to "how much is there", from the rollup of the top; with the fields that the predecessor's clients read.
"""

from __future__ import annotations

import time

from actors.query.answer import Answer
from actors.query.freshness import LIVE
from actors.query.stores import ViewStore
from fustor.treestore.format import ROOT_ID, Head
from fustor.treestore.render import json_object


def statistics(store: ViewStore) -> Answer:
    """
    Counts of the whole view and its freshness.

    Raises:
        MachineError: a record of the store is damaged.
    """
    lease = store.acquire()
    if lease is None:
        face, head = store.nothing(), None
    else:
        try:
            face = lease.face
            value = lease.snapshot.head(ROOT_ID)
            head = Head.unpack(value) if value is not None else None
        finally:
            lease.close()
    files, directories, size = (head.files, head.directories, head.size) if head else (0, 0, 0)
    as_of = face.as_of
    members = {
        "item_count": files + directories,
        "total_files": files,
        "total_directories": directories,
        "total_size": size,
        # Against this host's clock, as the predecessor had it; "age" compares no two clocks.
        "latency_ms": None if as_of is None else round((time.time() - as_of) * 1000, 3),
        "staleness_seconds": face.age,
        "oldest_item_path": None,
        "has_blind_spot": face.state != LIVE or not face.complete,
        "suspect_file_count": 0,
        "logical_now": as_of,
        "last_audit_finished_at": None,
        "audit_cycle_count": 0,
        "is_auditing": False,
    }
    return Answer(200, json_object(members)[:-1] + face.members + b"}", face.headers)
