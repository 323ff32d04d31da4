"""What every process needs: sockets, keys, configuration, logging, the host of an actor. No payload logic."""
