"""
The guardian: parent of every process of one side. Standard library only, one thread, one epoll.

It starts and watches the control actor, starts, signals and reaps payloads when the control actor asks, and holds the
listening sockets. It decides nothing else, knows no zmq and no message of the mesh.

Keeper channel
    One SEQPACKET socketpair per incarnation of the control actor, one JSON object per packet (``channel.py``).

    Control actor → guardian: ``{"op": …, "id": n, …}``; without ``id`` no answer is sent.

    =========== ================================================= ============================================
    op          fields                                            answer
    =========== ================================================= ============================================
    ``spawn``   name, argv, env, fds (names), token, data_bytes   ``pid``, once exec has succeeded
    ``kill``    name, signal (number)                             nothing
    ``list``                                                      ``slots`` in packets; ``more`` but on the last
    ``forget``  name of a slot whose process has exited           nothing
    ``abandon`` name of a slot whose process runs                 ``name``, the new one; the old one is free
    ``status``                                                    ``counters``
    ``beat``                                                      nothing
    =========== ================================================= ============================================

    Guardian → control actor: answers ``{"re": n, …}`` or ``{"re": n, "error": {field, value, accepted, errno}}``,
    and ``{"event": "exit", name, pid, token, code, signal, maxrss, cpu}`` (``maxrss`` in bytes, ``cpu`` in seconds).

Modules
    Pure: ``config``, ``table``, ``policy``, ``requests``. At the kernel's edge: ``process``, ``children``, ``channel``,
    ``listeners``, ``files``, ``logs``, ``leftovers``. ``keeper`` is the loop that joins them, ``main`` the program.
"""
