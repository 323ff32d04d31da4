"""Answers of fs/tree over zmq, as the commands want them: checked, decoded, or passed on as they come."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from fustor.admin.client import Client, TreeAnswer
from fustor.admin.exits import NotFoundError
from protocols.errors import MachineError, RequestError

#: Largest answer that is decoded at once, bytes; larger ones are for ``--json``, which streams.
MOST = 256 << 20


def ask_tree(client: Client, path: str, view: str, params: Mapping[str, str]) -> TreeAnswer:
    """
    Ask for ``path`` and check that there is an answer.

    Raises:
        RequestError: the path is not absolute, or a parameter is refused.
        NotFoundError: no such path or view.
        MachineError: nobody answered in time.
    """
    if not path.startswith("/"):
        raise RequestError("PATH", path, "an absolute path in the tree is accepted, / is its root")
    answer = client.tree("tree", os.fsencode(path), view, params)
    if answer.status == 200:
        return answer
    reason = _reason(b"".join(answer.parts))
    if answer.status == 404:
        raise NotFoundError(f"{path}: {reason or 'no such path'}. What is there: fustor tree {_parent(path)}")
    if answer.status == 400:
        raise RequestError("", path, reason or "refused")
    raise MachineError(f"{path}: unexpected answer with status {answer.status}: {reason}")


def decoded(answer: TreeAnswer) -> dict[str, Any]:
    """The root node of an answer. Raises MachineError when it is too large to be decoded at once, or no node."""
    body = bytearray()
    for part in answer.parts:
        body += part
        if len(body) > MOST:
            raise MachineError(f"more than {MOST} bytes: ask for fewer levels, or use --json, which streams")
    node = json.loads(body)
    if not isinstance(node, dict):
        raise MachineError("the answer is no node: is it a Fusion of this version?")
    return node


def streamed(answer: TreeAnswer) -> None:
    """Pass an answer on to stdout, part by part."""
    out = sys.stdout.buffer
    for part in answer.parts:
        out.write(part)
    out.write(b"\n")
    out.flush()


def _reason(body: bytes) -> str:
    try:
        value = json.loads(body)
    except ValueError:
        return body[:200].decode("utf-8", "replace")
    if not isinstance(value, dict):
        return ""
    return str(value.get("error", ""))


def _parent(path: str) -> str:
    return path.rstrip("/").rpartition("/")[0] or "/"
