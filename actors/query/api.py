"""
Which question a request is, whichever way it came. Errors of the asker are answers here; knows no transport.
"""

from __future__ import annotations

import functools
from typing import Any

import trio

from actors.query.answer import Answer, HeaderBlock, Later
from actors.query.body import BodyLimits
from actors.query.fstree import tree
from actors.query.jobs import Jobs, parts
from actors.query.params import (
    Params,
    SearchQuery,
    TreeQuery,
    Waits,
    parse_query,
    search_query,
    split_target,
    tree_query,
)
from actors.query.search import search
from actors.query.statistics import statistics
from actors.query.stores import Stores, ViewStore
from fustor.runtime.access import EVERYTHING, ApiKeys, Grant
from fustor.treestore.format import encode_base64, readable, valid_utf8
from fustor.treestore.render import json_members, json_object
from protocols.errors import RequestError
from protocols.looks import JOBS, SESSIONS

#: What can be asked of a view.
OPERATIONS = ("tree", "stats", "search")
#: What can be asked of the control actor about a view.
_ENQUIRIES = (JOBS, SESSIONS)
#: Seconds that it may take to say it.
_ENQUIRY_SECONDS = 2.0
#: Seconds in which it hears of a job that another worker has just begun, and between two times it is asked.
_UNHEARD_SECONDS, _UNHEARD_AGAIN = 1.5, 0.1
#: Clients repeat themselves: parsed requests that are kept.
_KEPT_REQUESTS = 2048
#: Longer targets are not kept.
_KEPT_TARGET = 512

_VIEWS = "/api/v1/views/"


class Api:
    """
    Args:
        stores: of the views.
        limits: of bodies.
        most_results, default_results: of one search.
        keys: who may ask over HTTP; None: everybody.
        jobs: looks that readers want; None: there are none.
        waits: how long an answer may wait for one.
    """

    def __init__(
        self,
        stores: Stores,
        limits: BodyLimits,
        most_results: int,
        default_results: int,
        keys: ApiKeys | None = None,
        jobs: Jobs | None = None,
        waits: Waits = Waits(),  # noqa: B008 - it is not changed
    ) -> None:
        self._stores = stores
        self._keys = keys
        self._limits = limits
        self._jobs = jobs
        self._waits = waits
        self._most_results = most_results
        self._default_results = default_results
        self._parsed: dict[bytes, tuple[ViewStore, TreeQuery]] = {}

    def ask_target(self, target: bytes, if_none_match: str = "", key: bytes = b"") -> Answer | Later:
        """The answer to GET ``target`` (path and query of a URL, percent-encoded), asked with an API key."""
        grant = EVERYTHING if self._keys is None else self._keys.grant(key)
        known = self._parsed.get(target)
        if known is not None and grant is not None:
            store, wanted = known
            if grant is not EVERYTHING and not grant.covers(store.view, wanted.names):
                return forbidden(grant, store.view)
            return self._tree(store, wanted, if_none_match)
        try:
            path, query = split_target(target)
            return self._route(target, path.decode("ascii", "replace"), query, if_none_match, grant)
        except RequestError as error:
            return bad_request(error)

    def _route(self, target: bytes, path: str, query: bytes, if_none_match: str, grant: Grant | None) -> Answer | Later:
        if path == "/health":
            return self._health(grant)
        job = ""
        if grant is None:
            return no_key()
        if path == "/":
            return self._index()
        if path == "/fs/tree":
            operation, view = "tree", ""
        elif path.startswith(_VIEWS) and path.count("/") == 5:
            view, operation = path.removeprefix(_VIEWS).split("/")
        elif path.startswith(_VIEWS) and path.count("/") == 6 and path.split("/")[5] == JOBS:
            view, operation, job = path.removeprefix(_VIEWS).split("/")
        else:
            return self._no_endpoint(path)
        params = parse_query(query)
        if path == "/fs/tree":
            view = params.get("view", b"").decode("utf-8", "replace")
        store = self._stores.views.get(view or self._stores.default)
        if store is None:
            return self._no_view(view)
        if operation == "tree":
            wanted = tree_query(params, self._waits)
            if not grant.covers(store.view, wanted.names):
                return forbidden(grant, store.view)
            if len(target) <= _KEPT_TARGET:
                if len(self._parsed) >= _KEPT_REQUESTS:
                    self._parsed.clear()
                self._parsed[target] = store, wanted
            return self._tree(store, wanted, if_none_match)
        if operation in _ENQUIRIES and self._jobs is not None:
            if not grant.covers(store.view, ()):
                return forbidden(grant, store.view)
            return self._enquiry(self._jobs, operation, store.view, job)
        if operation in OPERATIONS:
            # Counts are of the whole view.
            names = () if operation == "stats" else self._search_query(params).names
            if not grant.covers(store.view, names):
                return forbidden(grant, store.view)
            return self._other(operation, store, params)
        return self._no_endpoint(path)

    def ask(self, operation: str, view: str, params: Params, if_none_match: str = "") -> Answer | Later:
        """The answer to one of ``OPERATIONS`` about ``view``; empty: the default one."""
        store = self._stores.views.get(view or self._stores.default)
        if store is None:
            return self._no_view(view)
        try:
            if operation == "tree":
                return self._tree(store, tree_query(params, self._waits), if_none_match)
            if operation in OPERATIONS:
                return self._other(operation, store, params)
        except RequestError as error:
            return bad_request(error)
        return bad_request(RequestError("op", operation[:100], ", ".join(OPERATIONS)))

    def _tree(self, store: ViewStore, query: TreeQuery, if_none_match: str) -> Answer | Later:
        """What is known; after a look, where one is wanted, or where nothing is known of the path."""
        seconds = query.look
        if seconds is None:
            answer = tree(store, query, if_none_match, self._limits)
            if not answer.is_unknown or not self._waits.unknown:
                return answer
            seconds = self._waits.unknown
        jobs = self._jobs
        if jobs is None:
            return tree(store, query, if_none_match, self._limits)

        async def wait() -> Answer:
            wanted = parts(store.sources(), query.names, query.depth)
            job = jobs.want((store.view, query.names, query.depth), wanted)
            with trio.move_on_after(seconds):
                await job.done.wait()
            members = job.members()
            answer = tree(store, query, "", self._limits, json_members(members))
            pending = "true" if members["job_pending"] else "false"
            lines = HeaderBlock.of({"X-Fustor-Job": job.id, "X-Fustor-Job-Pending": pending}).lines
            answer.headers = HeaderBlock(answer.headers.lines + lines)
            return answer

        return Later(wait)

    def _enquiry(self, jobs: Jobs, what: str, view: str, job: str) -> Later:
        """What the control actor knows of looks and links; 200 also when it does not say."""

        async def ask() -> tuple[tuple[dict[str, Any], ...] | None, list[dict[str, Any]]]:
            rows = await jobs.enquire(what, view, _ENQUIRY_SECONDS)
            return rows, [_shown(row) for row in rows or () if not job or row.get("job_id") == job]

        async def wait() -> Answer:
            rows, shown = await ask()
            with trio.move_on_after(_UNHEARD_SECONDS):
                while job and rows is not None and not shown:
                    await trio.sleep(_UNHEARD_AGAIN)
                    rows, shown = await ask()
            if job and rows is not None and not shown:
                body = {"error": "there is no such job", "field": "job_id", "value": job[:200]}
                return Answer(404, json_object({**body, "accepted": f"one of those that {_VIEWS}{view}/{JOBS} names"}))
            return Answer(200, json_object({"view": view, what: shown, "known": rows is not None}))

        return Later(wait)

    def _other(self, operation: str, store: ViewStore, params: Params) -> Answer:
        if operation == "stats":
            return statistics(store)
        return search(store, self._search_query(params), self._limits)

    def _search_query(self, params: Params) -> SearchQuery:
        return search_query(params, self._most_results, self._default_results)

    def _no_view(self, view: str) -> Answer:
        views = list(self._stores.views)
        body = {"error": "there is no such view", "field": "view", "value": view[:200], "accepted": views}
        return Answer(404, json_object(body))

    def _no_endpoint(self, path: str) -> Answer:
        body = {
            "error": "there is nothing here",
            "field": "url",
            "value": path[:200],
            "accepted": [*self._endpoints, "/health", "/"],
        }
        return Answer(404, json_object(body))

    @functools.cached_property
    def _endpoints(self) -> list[str]:
        operations = OPERATIONS if self._jobs is None else (*OPERATIONS, *_ENQUIRIES)
        views = [f"{_VIEWS}{view}/{operation}" for view in self._stores.views for operation in operations]
        return ["/fs/tree", *views]

    def _index(self) -> Answer:
        body = {
            "service": "fustor",
            "endpoints": [*self._endpoints, "/health"],
            "example": "/fs/tree?path=/&max_depth=1",
            "views": list(self._stores.views),
            "default_view": self._stores.default,
        }
        return Answer(200, json_object(body))

    def _health(self, grant: Grant | None) -> Answer:
        """For whoever watches the service: that it answers needs no key, how its views are does."""
        if grant is None:
            return Answer(200, json_object({"status": "ok"}))
        views = {name: store.state() for name, store in self._stores.views.items()}
        return Answer(200, json_object({"status": "ok", "views": views}))


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the control actor for people: names are bytes there."""
    path = row.get("path")
    if not isinstance(path, bytes):
        return row
    shown = {**row, "path": readable(path)}
    return shown if valid_utf8(path) else {**shown, "path_b64": encode_base64(path)}


def no_key() -> Answer:
    """401: whoever asks has to show a key."""
    accepted = "a key of this Fusion, as `fustor api-keys new` makes it on its host"
    body = {"error": "the API key is missing, or is none", "field": "X-API-Key", "value": None, "accepted": accepted}
    return Answer(401, json_object(body), HeaderBlock.of({"WWW-Authenticate": 'X-API-Key realm="fustor"'}))


def forbidden(grant: Grant, view: str) -> Answer:
    """403: the key is good, but not for this."""
    views = None if grant.views is None else sorted(grant.views)
    paths = None if grant.paths is None else [readable(b"/" + b"/".join(names)) for names in grant.paths]
    body = {
        "error": "the API key does not open this",
        "field": "view" if views is not None and view not in views else "path",
        "value": view if views is not None and view not in views else None,
        "accepted": {"views": views, "paths": paths},
    }
    return Answer(403, json_object(body))


def bad_request(error: RequestError) -> Answer:
    """400 with what is wrong."""
    body = {"error": str(error), "field": error.field, "value": error.value, "accepted": error.accepted}
    return Answer(400, json_object(body))
