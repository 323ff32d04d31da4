from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from fustor.runtime.config import ConfigFaults, Shown, between, matching, read_toml, shorten, structure
from protocols.errors import ConfigError


@attrs.frozen
class Inner:
    name: str = attrs.field(validator=matching("[a-z]+", "a lower-case word"))
    size: int = attrs.field(default=1, validator=between(1, 9))


@attrs.frozen
class Outer:
    inner: Inner
    flag: bool = False
    ratio: float = 1.0
    words: tuple[str, ...] = ()
    inners: tuple[Inner, ...] = ()
    table: dict[str, int] = attrs.Factory(dict)
    maybe: int | None = None
    anything: Any = None
    key: bytes = b""
    twice: float = attrs.field(default=attrs.Factory(lambda self: 2 * self.ratio, takes_self=True))
    low: int = 0
    high: int = attrs.field(default=10)

    @high.validator
    def _check_high(self, attribute: attrs.Attribute[int], value: int) -> None:
        if value < self.low:
            raise ValueError("it must not be below low")

    def __attrs_post_init__(self) -> None:
        if self.low == 5:
            raise ConfigError("low", self.low, "not 5, after all")
        if self.low == 6:
            raise ValueError("no six")


def faults(data: object, **where: str) -> list[str]:
    with pytest.raises(ConfigFaults) as caught:
        structure(Outer, data, **where)
    assert str(caught.value) == "\n".join(map(str, caught.value.faults))
    return [str(fault) for fault in caught.value.faults]


def test_everything_that_is_accepted() -> None:
    data = {
        "inner": {"name": "a", "size": 2},
        "flag": True,
        "ratio": 3,
        "words": ["x", "y"],
        "inners": ({"name": "b"},),
        "table": {"k": 1},
        "maybe": 4,
        "anything": [1, {"x": 2}],
        "key": b"k",
    }
    outer = structure(Outer, data)
    assert outer == Outer(
        inner=Inner("a", 2),
        flag=True,
        ratio=3.0,
        words=("x", "y"),
        inners=(Inner("b"),),
        table={"k": 1},
        maybe=4,
        anything=[1, {"x": 2}],
        key=b"k",
        twice=6.0,
    )
    assert type(outer.ratio) is float


def test_defaults() -> None:
    assert structure(Outer, {"inner": {"name": "a"}}) == Outer(inner=Inner("a"))


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("flag", 1, "flag = 1: true or false is accepted"),
        ("flag", "true", "flag = 'true': true or false is accepted"),
        ("ratio", "1.5", "ratio = '1.5': a number is accepted"),
        ("ratio", True, "ratio = True: a number is accepted"),
        ("words", "abc", "words = 'abc': an array is accepted"),
        ("words", ["a", 1], "words[1] = 1: text is accepted"),
        ("inners", [{"name": "a"}, {"name": "B"}], "inners[1].name = 'B': a lower-case word is accepted"),
        ("inners", [3], "inners[0] = 3: a table is accepted"),
        ("table", {"k": "v"}, "table.k = 'v': an integer is accepted"),
        ("table", {1: 1}, "table.1 = 1: text is accepted"),
        ("table", [1], "table = [1]: a table is accepted"),
        ("maybe", "x", "maybe = 'x': an integer is accepted"),
        ("key", "text", "key = 'text': binary is accepted"),
        ("inner", {"name": "a", "size": 0}, "inner.size = 0: a number from 1 to 9 is accepted"),
        ("inner", {"name": "a", "size": True}, "inner.size = True: an integer is accepted"),
        ("inner", {"name": "a", "size": 1.0}, "inner.size = 1.0: an integer is accepted"),
        ("inner", {}, "inner.name = (missing): it is required"),
        ("inner", {"name": "a", "siz": 3}, "inner.siz = 3: unknown key; did you mean size? accepted: name, size"),
        ("high", -1, "high = -1: it must not be below low"),
        ("low", 5, "low = 5: not 5, after all"),
    ],
)
def test_what_is_refused(key: str, value: object, fault: str) -> None:
    assert faults({"inner": {"name": "a"}, key: value}) == [fault]


def test_every_fault_is_told_with_file_and_place() -> None:
    assert faults({"inner": {"name": "A", "size": 77}, "flag": 0, "hihg": 1}, file="f.toml", prefix="top[2]") == [
        "f.toml: top[2].inner.name = 'A': a lower-case word is accepted",
        "f.toml: top[2].inner.size = 77: a number from 1 to 9 is accepted",
        "f.toml: top[2].flag = 0: true or false is accepted",
        "f.toml: top[2].hihg = 1: unknown key; did you mean high? accepted: inner, flag, ratio, words, inners, table, "
        "maybe, anything, key, twice, low, high",
    ]


def test_a_validator_that_needs_a_field_that_is_wrong_itself_is_left_out() -> None:
    assert faults({"inner": {"name": "a"}, "low": "x", "high": 3}) == ["low = 'x': an integer is accepted"]


def test_faults_of_the_whole() -> None:
    assert faults([], prefix="limits") == ["limits = []: a table is accepted"]
    assert faults(None) == ["(top) = None: a table is accepted"]
    assert faults({"inner": {"name": "a"}, "low": 6}) == ["(top) = {'inner': {'name': 'a'}, 'low': 6}: no six"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 0, 10])
def test_between_refuses(value: float) -> None:
    with pytest.raises(ConfigError, match="a number from 1 to 9 is accepted"):
        between(1, 9)(None, attrs.fields(Inner).size, value)


def test_long_values_are_shortened() -> None:
    shown = str(faults({"inner": {"name": "a" * 5000 + "B"}})[0])
    assert len(shown) < 200
    assert "…" in shown
    assert shorten(5) == 5
    assert repr(Shown("x")) == "x"


def test_read_toml(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[a]\nb = 1\n")
    assert read_toml(str(path)) == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"a = \n", "line 1"), (b"\xff = 1\n", "not TOML"), (b"#" * ((4 << 20) + 1), "at most 4194304 bytes")],
)
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_toml(str(path))
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: it can't be read: No such file"):
        read_toml(str(tmp_path / "none.toml"))
