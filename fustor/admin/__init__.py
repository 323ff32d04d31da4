"""
The commands of people: ``up``, ``down``, ``status``, ``tree``, ``stat``, ``agents``, ``store check``, ``stacks``.

Everything is asked over the same sockets that any other client may use; nothing here is imported by Fusion or an agent.
"""
