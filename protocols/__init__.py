"""
The language of the mesh, without any I/O.

``errors``
    the error tree, split by who must act.
``codec``
    msgpack with limits on size, nesting and fields; the registry of message kinds.
``messages``
    control messages: login, heartbeat, lifeline, administration.
``data``
    data messages: work, findings, items, batches, acknowledgements.

Everything else here is a state machine that takes messages and ``now`` and returns messages: nothing in this package
opens a socket, reads a clock, starts a thread or touches a file.
"""
