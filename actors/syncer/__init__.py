"""
The syncer of one source: takes numbered items from the watcher and brings them to the view, in batches.

It holds nothing that is not held elsewhere: when it dies, the watcher gives its successor every item that is not
applied.
"""
