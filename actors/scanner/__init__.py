"""
A scanner of one source: the only process that touches the file system.

``patterns``  which paths belong to the source
``mounts``    where other file systems begin
``look``      open, verify, watch, list, lstat: blocking, one directory at a time
``worker``    the thread that does it, and its replacement while the storage does not answer
``channel``   the connection on which the watcher passes its inotify descriptor
"""
