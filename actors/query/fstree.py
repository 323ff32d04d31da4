"""
The answer to "what is below this path".

Known paths are 200, with the node and its children; a path that is known not to exist is 404; of everything else the
answer is 200 and says ``"known": false``. Every answer carries the state of the view.
"""

from __future__ import annotations

from collections.abc import Iterator

from actors.query.answer import Answer
from actors.query.body import BodyLimits, Item, make_body
from actors.query.cache import Rendered
from actors.query.face import Face
from actors.query.params import TreeQuery
from actors.query.stores import ViewStore
from fustor.treestore.format import encode_base64, head_rollup, readable, valid_utf8
from fustor.treestore.reader import Snapshot
from fustor.treestore.render import TreeRenderer, json_members, json_object, render_row
from protocols.errors import MachineError

#: What is said of a look where none was wanted.
NO_JOB = b',"job_id":null,"job_pending":false'
_KNOWN = b',"known":true,"rollup":{"files":%d,"directories":%d,"bytes":%d}'
#: A directory of more is read as long answers are.
_FEW_CHUNKS = 8
_KNOWN_OTHER = b',"known":true,"rollup":null'


def tree(store: ViewStore, query: TreeQuery, if_none_match: str, limits: BodyLimits, job: bytes = NO_JOB) -> Answer:
    """
    The answer about ``query``.

    Args:
        store: of the view that is asked.
        query: what is wanted.
        if_none_match: the tags the client has; empty for none.
        limits: of the body.
        job: what is to be said of the look that was wanted, as JSON members, each with a comma before it.

    A damaged record is logged and counted, and nothing is claimed to be known.
    """
    lease = store.acquire()
    if lease is None:
        return _unknown(store.nothing(), query, job)
    kept = False
    try:
        face, snapshot = lease.face, lease.snapshot
        commit = snapshot.commit_number()
        # What is kept says that no look was wanted.
        rendered = store.cache.get(query.key) if job is NO_JOB else None
        if rendered is not None and rendered.commit == commit and rendered.uuid == face.uuid:
            return _again(rendered, face, query, if_none_match)
        found = snapshot.resolve(query.names)
        head = snapshot.head(found.id) or b""
        generation, files, directories, size = head_rollup(head)
        if found.matched < len(query.names):
            if found.row is not None:
                return _other(face, found.id, generation, found.row, query, if_none_match, job)
            if found.known:
                return _missing(face, query, job)
            unknown = _unknown(face, query, job)
            unknown.is_unknown = True
            return unknown
        if (
            rendered is not None
            and rendered.generation == generation
            and rendered.id == found.id
            and rendered.uuid == face.uuid
        ):
            rendered.commit = commit
            return _again(rendered, face, query, if_none_match)
        tag = _tag(face, found.id, generation, query)
        if if_none_match and _matches(if_none_match, tag):
            return Answer(304, b"", face.headers, tag)
        extras = _KNOWN % (files, directories, size) + job
        all_extras = face.members + extras
        renderer = TreeRenderer(query.parent, all_extras, max_depth=query.depth, only_path=query.only_path)
        parts: list[bytes] | None = None
        if not directories or query.depth == 0:
            parts = _one_directory(snapshot, found.id, head, query, renderer, limits)
        if parts is None:
            kept = True  # the body takes the lease over
            body = make_body(lease, _pieces(snapshot, found.id, query.depth), renderer, limits)
            if not isinstance(body, list):
                return Answer(200, body, face.headers, tag)
            parts = body
        text = b"".join(parts)
        if rendered is not None or (job is NO_JOB and store.cache.wants(query.key)):
            rest = memoryview(text)[len(parts[0]) + len(all_extras) :]
            rendered = Rendered(face.uuid, found.id, generation, commit, extras, parts[0], rest)
            store.cache.put(query.key, rendered)
        return Answer(200, text, face.headers, tag)
    except MachineError as error:
        store.failed(error)
        return _unknown(store.nothing(), query, job)
    finally:
        if not kept:
            lease.close()


def _again(rendered: Rendered, face: Face, query: TreeQuery, if_none_match: str) -> Answer:
    """What was rendered before, with what is said of the view now."""
    rendered.asked = True
    tag = _tag(face, rendered.id, rendered.generation, query)
    if if_none_match and _matches(if_none_match, tag):
        return Answer(304, b"", face.headers, tag)
    body = b"".join((rendered.node, face.members, rendered.extras, rendered.rest))
    return Answer(200, body, face.headers, tag)


def _one_directory(
    snapshot: Snapshot, store_id: int, head: bytes, query: TreeQuery, renderer: TreeRenderer, limits: BodyLimits
) -> list[bytes] | None:
    """The most frequent body, of a directory without directories, in few steps; None when it is too long for that."""
    chunks = [] if query.depth == 0 else snapshot.few_chunks(store_id, _FEW_CHUNKS)
    if chunks is None or sum(map(len, chunks)) > limits.whole_bytes:
        return None
    out: list[bytes] = []
    renderer.feed((0, head, chunks), out)
    renderer.end(out)
    return out


def _pieces(snapshot: Snapshot, store_id: int, depth: int | None) -> Iterator[Item]:
    """The walk, with sizes."""
    for level, _, head, chunks in snapshot.walk(store_id, depth):
        size = len(head)
        for chunk in chunks:
            size += len(chunk)
        yield (level, head, chunks), size


def _other(
    face: Face, store_id: int, generation: int, row: bytes, query: TreeQuery, if_none_match: str, job: bytes
) -> Answer:
    """A path that leads to something that is no directory: its node."""
    tag = _tag(face, store_id, generation, query)
    if if_none_match and _matches(if_none_match, tag):
        return Answer(304, b"", face.headers, tag)
    body = render_row(row, query.parent, face.members + _KNOWN_OTHER + job, only_path=query.only_path)
    return Answer(200, body, face.headers, tag)


def _missing(face: Face, query: TreeQuery, job: bytes) -> Answer:
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
    return Answer(404, body[:-1] + face.members + (b"" if job is NO_JOB else job) + b"}", face.headers)


def _unknown(face: Face, query: TreeQuery, job: bytes) -> Answer:
    """A path of which nothing can be said: 200, without children; what it would be is known of the top only."""
    names = query.names
    node: dict[str, object] = {
        "name": readable(names[-1]) if names else "",
        "content_type": None if names else "directory",
        "path": readable(query.path),
    }
    if not valid_utf8(query.path):
        node["path_b64"] = encode_base64(query.path)
    body = json_object(node)[:-1] + face.members + json_members({"known": False, "rollup": None}) + job + b"}"
    return Answer(200, body, face.headers)


def _tag(face: Face, store_id: int, generation: int, query: TreeQuery) -> str:
    """Weak: equal tags mean the same tree in the same state, not the same age."""
    return f'W/"{face.uuid}-{store_id:x}-{generation:x}-{face.state}-{query.tag}"'


def _matches(if_none_match: str, tag: str) -> bool:
    """RFC 9110 section 13.1.2, by weak comparison. Our tags have no comma in them."""
    offered = {item.strip().removeprefix("W/") for item in if_none_match.split(",")}
    return "*" in offered or tag.removeprefix("W/") in offered
