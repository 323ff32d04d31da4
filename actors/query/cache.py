"""
Rendered answers that are kept, for questions that are asked again.

An answer is right as long as its subtree is as it was, which two numbers tell: the store's last commit, and if there
has been one since, the subtree's own generation. What changes by itself (states, ages) is no part of what is kept.

What this module does not do: it reads no store, and decides about no answer whether it may be kept.
"""

from __future__ import annotations

import attrs

#: Path, depth and so on, as :class:`~actors.query.params.TreeQuery` has it.
Question = tuple[tuple[bytes, ...], int | None, bool]
#: What an entry takes besides its text, about.
_ENTRY_BYTES = 1000
#: Questions that are remembered to have been asked.
_ASKED = 4096


@attrs.define(eq=False)
class Rendered:
    """
    The answer to one question.

    Attributes:
        uuid, id, generation: of the store, the directory and its subtree, as they were.
        commit: LMDB's number of the last commit of which it is known that it changed nothing here.
        extras: JSON members of the first node that are as lasting as the rest.
        node: text of the first node's own members.
        rest: text behind the members of the first node; within the body as it was first sent, which it keeps.
        asked: again, since it was last thought of giving it up.
        size: bytes of memory, about; 0 until it is kept.
    """

    uuid: str
    id: int
    generation: int
    commit: int
    extras: bytes
    node: bytes
    rest: memoryview
    asked: bool = False
    size: int = 0


class AnswerCache:
    """
    Answers by question, bounded in bytes. The one that goes is the oldest not asked for again (second chance). What is
    asked for the first time is not worth keeping: whoever walks through a whole tree asks for everything once.

    Args:
        most_bytes: of all entries together, about; 0 keeps nothing.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._entries: dict[Question, Rendered] = {}
        self.get = self._entries.get  #: the entry of a question, right or not; None when there is none
        self.bytes = 0  #: of all entries
        self._asked: set[Question] = set()

    def wants(self, question: Question) -> bool:
        """Whether the answer, which is not kept yet, should be: the question was asked before, not long ago."""
        if question in self._asked:
            self._asked.discard(question)
            return True
        if self._most:
            if len(self._asked) >= _ASKED:
                self._asked.clear()
            self._asked.add(question)
        return False

    def put(self, question: Question, rendered: Rendered) -> None:
        """Keep it, instead of what was kept for this question."""
        size = rendered.size = len(rendered.node) + len(rendered.rest) + _ENTRY_BYTES
        if size > self._most:
            return
        entries = self._entries
        if question in entries:
            self.bytes -= entries.pop(question).size
        self.bytes += size
        entries[question] = rendered
        while self.bytes > self._most:
            oldest = next(iter(entries))
            entry = entries.pop(oldest)
            if entry.asked:
                entry.asked = False
                entries[oldest] = entry
            else:
                self.bytes -= entry.size
