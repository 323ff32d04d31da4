"""
The answer to "what is below this path".

Known paths are 200, with the node and its children; a path that is known not to exist is 404; of everything else the
answer is 200 and says ``"known": false``. Every answer carries the state of the view.
"""

from __future__ import annotations

from collections.abc import Iterator

from actors.query.answer import Answer
from actors.query.body import BodyLimits, Item, make_body
from actors.query.params import TreeQuery
from actors.query.stores import Face, ViewStore
from fustor.treestore.format import Head, encode_base64, readable, valid_utf8
from fustor.treestore.reader import Snapshot
from fustor.treestore.render import TreeRenderer, json_members, json_object, render_row
from protocols.errors import MachineError

#: Kept for clients of the predecessor, which could be asked to look on demand.
_JOB = b',"job_id":null,"job_pending":false'
#: Chunks in one piece of a large directory.
_PIECE_CHUNKS = 32


def tree(store: ViewStore, query: TreeQuery, if_none_match: str, limits: BodyLimits) -> Answer:
    """
    The answer about ``query``.

    Args:
        store: of the view that is asked.
        query: what is wanted.
        if_none_match: the tags the client has; empty for none.
        limits: of the body.

    A damaged record is logged and counted, and nothing is claimed to be known.
    """
    lease = store.acquire()
    if lease is None:
        return _unknown(store.nothing(), query)
    kept = False
    try:
        face = lease.face
        found = lease.snapshot.resolve(query.names)
        head = Head.unpack(lease.snapshot.head(found.id) or b"")
        if found.matched < len(query.names):
            if found.row is not None:
                return _other(face, found.id, head, found.row, query, if_none_match)
            return _missing(face, query) if found.known else _unknown(face, query)
        tag = _tag(face, found.id, head, query)
        if _matches(if_none_match, tag):
            return Answer(304, b"", face.headers, tag)
        rollup = b'{"files":%d,"directories":%d,"bytes":%d}' % (head.files, head.directories, head.size)
        extras = face.members + b',"known":true,"rollup":' + rollup + _JOB
        renderer = TreeRenderer(_parent(query.names), extras, max_depth=query.depth, only_path=query.only_path)
        kept = True  # the body takes the lease over
        return Answer(
            200, make_body(lease, _pieces(lease.snapshot, found.id, query.depth), renderer, limits), face.headers, tag
        )
    except MachineError as error:
        store.failed(error)
        return _unknown(store.nothing(), query)
    finally:
        if not kept:
            lease.close()


def _parent(names: tuple[bytes, ...]) -> bytes:
    """Raw path of the parent, without a slash at the end."""
    return b"".join(b"/" + name for name in names[:-1])


def _pieces(snapshot: Snapshot, store_id: int, depth: int | None) -> Iterator[Item]:
    """The walk with large directories cut into pieces."""
    for level, _, head, chunks in snapshot.walk(store_id, depth):
        if len(chunks) <= _PIECE_CHUNKS:
            yield (level, head, chunks), len(head) + sum(map(len, chunks))
            continue
        for at in range(0, len(chunks), _PIECE_CHUNKS):
            part = chunks[at : at + _PIECE_CHUNKS]
            yield (level, b"" if at else head, part), sum(map(len, part))


def _other(face: Face, store_id: int, head: Head, row: bytes, query: TreeQuery, if_none_match: str) -> Answer:
    """A path that leads to something that is no directory: its node."""
    tag = _tag(face, store_id, head, query)
    if _matches(if_none_match, tag):
        return Answer(304, b"", face.headers, tag)
    extras = face.members + b',"known":true,"rollup":null' + _JOB
    body = render_row(row, _parent(query.names), extras, only_path=query.only_path)
    return Answer(200, body, face.headers, tag)


def _missing(face: Face, query: TreeQuery) -> Answer:
    """A path known not to exist."""
    body = json_object(
        {
            "error": "there is no such path",
            "field": "path",
            "value": readable(query.path),
            "accepted": "a path that exists",
            "known": True,
        }
    )
    return Answer(404, body[:-1] + face.members + b"}", face.headers)


def _unknown(face: Face, query: TreeQuery) -> Answer:
    """A path of which nothing can be said: 200, without children; what it would be is known of the top only."""
    names = query.names
    node: dict[str, object] = {
        "name": readable(names[-1]) if names else "",
        "content_type": None if names else "directory",
        "path": readable(query.path),
    }
    if not valid_utf8(query.path):
        node["path_b64"] = encode_base64(query.path)
    body = json_object(node)[:-1] + face.members + json_members({"known": False, "rollup": None}) + _JOB + b"}"
    return Answer(200, body, face.headers)


def _tag(face: Face, store_id: int, head: Head, query: TreeQuery) -> str:
    """Weak: equal tags mean the same tree in the same state, not the same age."""
    return f'W/"{face.uuid}-{store_id:x}-{head.generation:x}-{face.status.state}-{query.tag}"'


def _matches(if_none_match: str, tag: str) -> bool:
    """RFC 9110 section 13.1.2, by weak comparison. Our tags have no comma in them."""
    if not if_none_match:
        return False
    offered = {item.strip().removeprefix("W/") for item in if_none_match.split(",")}
    return "*" in offered or tag.removeprefix("W/") in offered
