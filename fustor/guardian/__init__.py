"""
The guardian: parent of every process of one side. Standard library only, one thread, one epoll.

It starts and watches the control actor, starts, signals and reaps payloads when the control actor asks, and holds the
listening sockets. It decides nothing else, knows no zmq and no message of the mesh.

Keeper channel
    One SEQPACKET socketpair per incarnation of the control actor, one JSON object per packet (``channel.py``).

    Control actor → guardian: ``{"op": …, "id": n, …}``; without ``id`` no answer is sent.

    =========== ======================================= ==================================================
    op          fields                                  answer
    =========== ======================================= ==================================================
    spawn       name argv env fds token data_bytes      ``{pid}``, once the program runs
    kill        name signal                             ``{}``
    list                                                ``{slots}``; ``more``: another packet follows
    forget      name                                    ``{}``: the slot of a process that has ended is free
    abandon     name                                    ``{name}``: what a process is called that can't be killed
    status                                              ``{counters}``
    beat                                                ``{}``: the control actor is alive
    reexec                                              ``{}``; changes to the new version if that would start
    attempt     part program tag                        ``{}``; then ``control`` or ``guardian`` runs another program
    prove       part                                    ``{}``: it works
    leave       part why                                ``{}``; then it runs the one before
    =========== ======================================= ==================================================

    Guardian → control actor: answers ``{"re": n, …}`` or ``{"re": n, "error": {field, value, accepted, errno}}``,
    and ``{"event": "exit", name, pid, token, code, signal, maxrss, cpu, known}``: ``maxrss`` in bytes, ``cpu`` in
    seconds; not ``known``: the process had outlived the guardian that started it, and the kernel does not tell.

Succession
    When a guardian is killed its processes go on, and the next one takes them over: ``predecessor`` reads what the
    table says, ``gate`` lets them in with their listening sockets, ``adoption`` decides, ``survivors`` holds them by
    ``pidfd``.
    A new version of this code is the same process after an execve: ``handover``.

Keeping
    A payload that ends may leave descriptors for the next one of its name: ``kept``.

Programs
    What is installed may give way to a program that was sent from afar, on trial: ``programs`` says by which rules,
    ``choice`` keeps it, ``boot`` leads from the installed guardian to the other one.

Modules
    Pure: ``config``, ``table``, ``policy``, ``requests``, ``predecessor``, ``programs`` but for its file. At the
    kernel's edge: ``process``, ``children``, ``pidfd``, ``survivors``, ``channel``, ``gate``, ``listeners``, ``files``,
    ``logs``, ``events``, ``handover``, ``manager``, ``kept``. ``loop`` joins them, ``adoption`` is its part for
    survivors; ``keeper`` leads there from the command line, ``main`` is the program.
"""
