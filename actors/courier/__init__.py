"""
The courier: brings one bundle to a host, verifies it, unpacks it, and tries what of it would run. Then it is not needed
any more.

It is a payload, so that an agent's shell neither carries bulk nor runs anything that was not tried.
"""
