"""nginx (Debian package ``nginx-light``) serving one body as a static file: what HTTP costs without any tree."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from types import TracebackType

from benchmarks.web import Connection, until

_CONFIG = """\
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  open_file_cache max=16;
  default_type application/json;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; root {folder}/www; }}
}}
"""


class Nginx:
    """
    One server, as a context manager.

    Args:
        folder: for its files; must not exist.
        body: what it serves.

    Attributes:
        address: host and port.
        target: what to ask for.
    """

    target = "/tree.json"

    def __init__(self, folder: Path, body: bytes) -> None:
        (folder / "www").mkdir(parents=True)
        (folder / "www" / "tree.json").write_bytes(body)
        with socket.create_server(("127.0.0.1", 0)) as held:
            self.address: tuple[str, int] = held.getsockname()
        config = folder / "nginx.conf"
        user = "user root;\n" if os.geteuid() == 0 else ""
        config.write_text(user + _CONFIG.format(folder=folder, port=self.address[1]))
        self._command = ["nginx", "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
        self._body = body

    def __enter__(self) -> Nginx:
        self._process = subprocess.Popen(self._command)
        until(self._right, "nginx to serve its file", 10, 0.02)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait()

    def _right(self) -> bool:
        try:
            with Connection(self.address, {}) as connection:
                return connection.ask(self.target).body == self._body
        except ConnectionRefusedError:
            return False
