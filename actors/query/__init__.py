"""
The query actor: answers fs/tree, over HTTP and over zmq, from the tree stores that the view actors write.

``__main__``   the process: configuration in, listeners up, counters out.
``config``     what it may be told, checked.
``stores``     opens each view's store when it is there, and again when it was replaced.
``face``       what every answer says of its view, composed once, ages put in.
``cache``      rendered answers that are kept.
``freshness``  how old an answer is and what it may claim (pure).
``params``     the parameters of a request (pure).
``api``        which question a request is; errors as answers. Knows no transport.
``fstree``     trees, ``statistics``, ``search``: the answers themselves.
``spool``      what was read in one short transaction and waits for a slow reader.
``http``       the HTTP side; ``router`` the zmq side.

It never writes to a store, and never answers 5xx: while there is no store it says so, with status 200 and state
``empty``.
"""
