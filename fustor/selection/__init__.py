"""
Which entries of a tree are a source's, and which nobody may touch: for every actor that looks at files.

``patterns``, ``gitignore``
    what the source itself includes and excludes.
``denied``
    what this host leaves out, whoever asks.
``forbidden``
    what has killed before, as the shell tells it.

Nothing here looks at a file; RE2 makes it a part of the data plane.
"""
