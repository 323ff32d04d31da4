from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protocols.codec import DATA_LIMITS, decode, encode
from protocols.data import (
    CTIME,
    GID,
    INO,
    MODE,
    MTIME,
    NAME,
    NLINK,
    SIZE,
    TARGET,
    UID,
    Item,
    Listing,
    Moved,
    Names,
    Operation,
    Root,
    Watermark,
)

ids = st.integers(0, 2**63 - 1)
names = st.binary(min_size=1, max_size=20)
own_rows = st.just(()) | st.tuples(st.just(b""), *[ids] * 8)
operations = st.one_of(
    st.builds(
        Listing,
        dir=ids,
        lo=names,
        hi=st.none() | names,
        own=own_rows,
        ids=st.lists(ids, max_size=4).map(tuple),
        ignore=st.lists(names, max_size=4).map(tuple),
        errno=st.integers(0, 133),
    ),
    st.builds(Names, dir=ids, own=own_rows, ids=st.lists(ids, max_size=4).map(tuple)),
    st.builds(Moved, dir=ids, parent=ids, name=names),
    st.builds(Root, dir=ids),
    st.builds(
        Watermark,
        as_of_ns=ids,
        state=st.sampled_from(["building", "live", "offline", "degraded"]),
        complete=st.booleans(),
        reasons=st.lists(st.text(max_size=20), max_size=3).map(tuple),
        counts=st.dictionaries(st.text(max_size=9), ids, max_size=3),
    ),
)


@given(ids, ids, st.lists(operations, max_size=12))
def test_operations_keep_their_order(epoch: int, number: int, ops: list[Operation]) -> None:
    item = Item.of(epoch, number, ops)
    again = decode(encode(item), Item, limits=DATA_LIMITS)
    assert again == item
    assert (again.epoch, again.number) == (epoch, number)
    assert again.ops() == ops


def test_indices_of_a_row() -> None:
    row = (b"name", 1, 2, 3, 4, 5, 6, 7, 8, b"target")
    assert [row[i] for i in (NAME, MODE, SIZE, MTIME, CTIME, INO, UID, GID, NLINK, TARGET)] == list(row)
