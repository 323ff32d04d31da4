"""TLS by Debian's nginx in front, with the configuration of docs/how-to.md, word for word but for its addresses."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import textwrap
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.support.cluster import PATIENCE, Cluster, until

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to.md"

pytestmark = pytest.mark.skipif(
    shutil.which("nginx") is None or shutil.which("openssl") is None,
    reason="no nginx or openssl here (apt-get install nginx-light openssl)",
)

_AROUND = """\
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
access_log off;
client_body_temp_path {folder}/body;
proxy_temp_path {folder}/proxy;
fastcgi_temp_path {folder}/fastcgi;
uwsgi_temp_path {folder}/uwsgi;
scgi_temp_path {folder}/scgi;
{documented}
}}
"""


@attrs.frozen
class Front:
    """The proxy, and what it stands before."""

    cluster: Cluster
    port: int
    trust: ssl.SSLContext

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("localhost", self.port, timeout=PATIENCE, context=self.trust)

    def get(self, target: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = self.connect()
        try:
            connection.request(
                "GET", target, headers={name.replace("_", "-"): value for name, value in headers.items()}
            )
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        finally:
            connection.close()


def documented() -> str:
    """The block of the how-to that begins with its upstream."""
    match = re.search(r"^ {4}upstream fusion \{.*?^ {4}\}\n {4}server \{.*?^ {4}\}\n", HOW_TO.read_text(), re.M | re.S)
    assert match is not None
    return textwrap.dedent(match[0])


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("front")
    root = folder / "root"
    for number in range(100):
        (root / f"d{number}").mkdir(parents=True)
        for name in range(100):
            (root / f"d{number}/{name}").touch()
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    key, certificate = folder / "fusion.key", folder / "fusion.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    cluster = Cluster(root, folder / "state")
    try:
        cluster.settled()
        with socket.create_server(("127.0.0.1", 0)) as held:
            port = held.getsockname()[1]
        text = documented().replace("127.0.0.1:8101", "{}:{}".format(*cluster.address))
        text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
        text = text.replace("/etc/ssl/fusion.pem", str(certificate)).replace("/etc/ssl/fusion.key", str(key))
        config = folder / "nginx.conf"
        config.write_text(_AROUND.format(folder=folder, documented=text))
        nginx = subprocess.Popen(["nginx", "-p", folder, "-c", config, "-e", folder / "error.log"])
        try:
            made = Front(cluster, port, ssl.create_default_context(cafile=str(certificate)))
            until(lambda: listens(port), f"nginx to listen: {nginx.poll()}")
            yield made
        finally:
            nginx.terminate()
            nginx.wait(PATIENCE)
    finally:
        cluster.down()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_what_comes_out_is_what_goes_in(front: Front) -> None:
    status, headers, body = front.get("/fs/tree?path=/d7")
    node = json.loads(body)
    assert (status, len(node["children"]), headers["x-fustor-state"]) == (200, 100, "live")
    status, again, body = front.get("/fs/tree?path=/d7", If_None_Match=headers["etag"])
    assert (status, body) == (304, b"")
    assert again["x-fustor-age"]
    assert front.get("/fs/tree?path=/nowhere")[0] == 404
    assert front.get("/fs/tree?path=/d7&on_demand_scan=true")[1]["x-fustor-job-pending"] == "false"


def test_the_whole_tree_is_streamed(front: Front) -> None:
    status, headers, body = front.get("/fs/tree?path=/")
    assert (status, headers["transfer-encoding"]) == (200, "chunked")
    assert body.count(b'"content_type":"file"') == 10_000


def test_a_killed_worker_costs_nobody_an_answer(front: Front) -> None:
    """Nothing but 200: a question that had no answer yet is asked once more by the proxy."""
    answers: list[tuple[int, int]] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            status, _, body = front.get("/fs/tree?path=/d1")
            answers.append((status, body.count(b'"content_type":"file"')))

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for name in ("query.0", "query.1", "query.0"):
        pid = front.cluster.kill(name)
        # A question that two killed workers had in turn would be a 502.
        until(partial(replaced, front.cluster, name, pid), "the next one to run")
        count = len(answers)
        until(partial(more_than, answers, count + 20), "answers")
    stop.set()
    for asker in askers:
        asker.join()
    assert set(answers) == {(200, 100)}


def replaced(cluster: Cluster, name: str, pid: int) -> bool:
    return cluster.running().get(name, pid) != pid


def more_than(answers: list[tuple[int, int]], count: int) -> bool:
    return len(answers) > count


def test_behind_it_keys_are_asked_for(front: Front) -> None:
    made: dict[str, Any] = json.loads(front.cluster.command("api-keys", "new", "reader", "--json").stdout)
    until(lambda: front.get("/fs/tree?path=/d1")[0] == 401, "a key to be needed")
    assert front.get("/fs/tree?path=/d1", X_API_Key=made["key"])[0] == 200
