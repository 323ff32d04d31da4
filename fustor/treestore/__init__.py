"""
The tree of one view, in one LMDB environment: one writer, readers in any number of processes.

``format``
    keys, heads, chunks and rows as bytes.
``attributes``
    what parsers have found, at the end of a row.
``environment``
    opening an environment and refusing what is not ours.
``pages``
    the files of one directory, in chunks.
``rollup``
    what a change below means for everything above.
``writer``
    applies items of :mod:`protocols.data`; the only one who writes.
``reader``
    snapshots: resolve, walk, status.
``check``
    verifies every invariant of a store.

Nothing here knows sockets, HTTP or trio.
"""
