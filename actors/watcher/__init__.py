"""
The watcher of one source: reads inotify, hands directories and names to scanners, numbers what they find.

``table``     the known directories, packed
``pending``   what is to be looked at, and since which moment (phases and watermarks)
``sweep``     a walk over all known directories; ``audits`` when one is due
``links``     which names share an inode
``core``      the rules: events, results and acknowledgements in; work and items out (pure)
``inotify``   the kernel's records
``__main__``  the ring of sockets around the core

It never touches the file system: a storage that hangs can't stop it.
"""
