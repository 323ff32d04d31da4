"""
Bundles: the program, data plane and shells, packed into one file that can be checked before anything of it is run.

Pure:

``canonical``
    JSON of which there is one text for each value.
``manifest``
    what a bundle holds and needs, and the rules for it.
``signature``
    what a signature covers, and who is believed.

For who takes a bundle:

``keys``
    the files of release keys.
``archive``
    the zip file, read as strictly as it is written.
``reading``
    a bundle that is open: is everything what the manifest says?
``unpacking``
    a bundle becomes a folder, whole or not at all.

For who makes one, and never imported by a shell: ``collect`` (which modules), ``bytecode``, ``wheels``, ``build``.

What this package does not do: carry bundles to hosts, or decide which one runs.
"""
