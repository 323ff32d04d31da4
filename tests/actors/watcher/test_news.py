"""What a parser has still to hear of."""

from __future__ import annotations

from actors.watcher.news import MOST_DIRECTORIES, MOST_NAMES, News
from actors.watcher.table import LISTED, ROOT, DirTable


def table_of(directories: int) -> DirTable:
    """That many directories in the root, all listed."""
    table = DirTable()
    table.flags[ROOT] |= LISTED
    for number in range(directories):
        table.flags[table.add(ROOT, b"d%d" % number, 1, number + 2)] |= LISTED
    return table


def taken(news: News, most: int = 1000) -> dict[int, frozenset[bytes] | None]:
    """Index → names."""
    return {dir_id & 0xFFFFFFFF: names for dir_id, names in news.take(most)}


def test_nothing_is_kept_for_a_parser_that_never_came() -> None:
    news = News(table_of(3))
    news.touched(ROOT, {b"a"})
    news.below(ROOT)
    assert (len(news), news.take(10)) == (0, [])


def test_first_everything_in_portions_and_then_what_changes() -> None:
    table = table_of(5)
    news = News(table)
    news.begin("rules")
    seen = [dir_id for _ in range(3) for dir_id, names in news.take(2) if names is None]
    assert seen == [table.id_of(index) for index in range(1, 7)]
    assert news.take(2) == []
    news.touched(2, {b"a"})
    news.touched(2, {b"b"})
    news.touched(3)
    news.touched(4, set())
    assert taken(news) == {2: frozenset({b"a", b"b"}), 3: None}


def test_what_is_not_listed_yet_comes_when_it_is() -> None:
    table = table_of(1)
    late = table.add(ROOT, b"late", 1, 99)
    news = News(table)
    news.begin("rules")
    assert late not in taken(news)
    news.touched(late)
    assert taken(news) == {late: None}


def test_changed_ones_come_before_the_rest_of_everything() -> None:
    news = News(table_of(5))
    news.begin("rules")
    assert list(taken(news, 1)) == [ROOT]
    news.touched(6, {b"a"})
    assert list(taken(news, 2)) == [6, 2]


def test_many_names_are_the_whole_directory() -> None:
    news = News(table_of(1))
    news.begin("rules")
    news.take(10)
    news.touched(2, {b"%d" % number for number in range(MOST_NAMES + 1)})
    news.touched(2, {b"one more"})
    assert taken(news) == {2: None}


def test_too_many_directories_are_everything() -> None:
    table = table_of(MOST_DIRECTORIES + 1)
    news = News(table)
    news.begin("rules")
    while news.take(4096):
        pass
    for index in range(1, MOST_DIRECTORIES + 3):
        news.touched(index)
    assert len(news) <= MOST_DIRECTORIES
    assert len(taken(news, 1 << 20)) == MOST_DIRECTORIES + 2


def test_a_moved_directory_is_told_with_all_below_it() -> None:
    table = table_of(2)
    deep = table.add(table.add(2, b"x", 1, 50), b"y", 1, 51)
    news = News(table)
    news.begin("rules")
    news.take(100)
    news.below(2)
    assert taken(news) == {2: None, table.parent[deep]: None, deep: None}


def test_what_has_gone_is_not_told() -> None:
    table = table_of(2)
    news = News(table)
    news.begin("rules")
    news.take(100)
    news.touched(2)
    table.drop(2)
    assert news.take(10) == []


def test_a_successor_of_the_same_rules_gets_what_was_given_and_goes_on() -> None:
    news = News(table_of(5))
    news.begin("rules")
    given = taken(news, 2)
    news.begin("rules")
    assert taken(news, 2) == given
    assert list(taken(news, 10)) == [3, 4, 5, 6]
    news.begin("rules")
    assert list(taken(news, 10)) == [3, 4, 5, 6]
    assert taken(news) == {}


def test_one_of_other_rules_gets_everything() -> None:
    news = News(table_of(5))
    news.begin("rules")
    news.take(100)
    news.begin("others")
    assert len(taken(news)) == 6
