"""Kept answers: their bound, and which of them goes."""

from __future__ import annotations

from actors.query.cache import AnswerCache, Question, Rendered
from actors.query.params import TreeQuery

QUERIES: list[Question] = [((b"%d" % n,), None, False) for n in range(10)]


def rendered(size: int = 100) -> Rendered:
    return Rendered("u", 1, 1, 1, b"", b"n", memoryview(b"r" * size))


def kept(cache: AnswerCache) -> list[int]:
    return [n for n, query in enumerate(QUERIES) if cache.get(query) is not None]


def test_an_equal_question_finds_it_and_another_does_not() -> None:
    cache = AnswerCache(1 << 20)
    entry = rendered()
    cache.put(TreeQuery((b"a",), 1).key, entry)
    assert cache.get(TreeQuery((b"a",), 1).key) is entry
    assert cache.get(TreeQuery((b"a",), 2).key) is None
    assert cache.get(TreeQuery((b"a",), 1, True).key) is None
    assert cache.get(TreeQuery((b"a", b"b"), 1).key) is None


def test_the_oldest_goes_unless_it_was_asked_for_again() -> None:
    cache = AnswerCache(1 << 20)
    cache.put(QUERIES[0], rendered())
    cache = AnswerCache(4 * cache.bytes)
    for query in QUERIES[:4]:
        cache.put(query, rendered())
    assert kept(cache) == [0, 1, 2, 3]
    first = cache.get(QUERIES[0])
    assert first is not None
    first.asked = True
    cache.put(QUERIES[4], rendered())
    assert kept(cache) == [0, 2, 3, 4]
    for query in QUERIES[5:8]:
        cache.put(query, rendered())
    assert kept(cache) == [0, 5, 6, 7]
    cache.put(QUERIES[8], rendered())  # it was not asked for since
    assert kept(cache) == [5, 6, 7, 8]


def test_the_bound_is_of_bytes_whatever_is_put() -> None:
    cache = AnswerCache(5000)
    for turn in range(40):
        for query in QUERIES:
            cache.put(query, rendered(turn * 37))
            entry = cache.get(query)
            if entry is not None:
                entry.asked = turn % 3 == 0
            assert cache.bytes == sum(found.size for q in QUERIES if (found := cache.get(q)) is not None) <= 5000


def test_one_that_is_too_large_is_not_kept_and_nothing_is_when_there_is_no_room() -> None:
    cache = AnswerCache(5000)
    cache.put(QUERIES[0], rendered(6000))
    assert (kept(cache), cache.bytes) == ([], 0)
    cache = AnswerCache(0)
    cache.put(QUERIES[0], rendered(0))
    assert (kept(cache), cache.bytes) == ([], 0)


def test_an_answer_is_wanted_when_its_question_comes_again() -> None:
    cache = AnswerCache(5000)
    assert [cache.wants(query) for query in QUERIES] == [False] * 10
    assert [cache.wants(query) for query in QUERIES] == [True] * 10
    assert [cache.wants(query) for query in QUERIES] == [False] * 10  # it was not kept, or is not any more
    many: list[Question] = [((b"%d" % n, b"x"), 1, True) for n in range(10_000)]
    for _ in range(2):
        assert not any(cache.wants(query) for query in many)  # a crawler that comes again after a long while
    assert not any(AnswerCache(0).wants(QUERIES[0]) for _ in range(3))
