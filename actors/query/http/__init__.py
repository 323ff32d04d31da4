"""
HTTP/1.1 on trio: ``request`` (bytes to requests), ``response`` (answers to bytes), both without I/O, and ``server``.

Not here: TLS, HTTP/2, request bodies (they are skipped), files, routing. Sources: RFC 9110 and RFC 9112.
"""
