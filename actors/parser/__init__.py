"""
A parser: finds attributes of the files of one source, by their paths and their contents.

It is told by the watcher which directories to look at, and tells it what it has found (:mod:`protocols.parsing`). It
has a process of its own, for what reads foreign files may crash, hang or eat memory: the file in hand is written down
first (:mod:`fustor.runtime.handling`), and one that kills twice is quarantined by the shell. Metadata never waits for
it.
"""
