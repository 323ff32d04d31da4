"""
The view actor: takes batches of items from syncers, applies them to the tree store, acknowledges.

``config``
    what it may be told.
``applier``
    batches to the writer, positions to acknowledgements; no sockets.
``store``
    opening the store, or setting aside what can't be used.
``service``
    the sockets and the loop.
"""
