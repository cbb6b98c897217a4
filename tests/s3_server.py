"""An S3 server on loopback, and a proxy before it that is slow, drops connections, loses answers or refuses."""

from __future__ import annotations

import http.client
import logging
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import pytest

Fault = Literal["drop", "lose answer", "cut short", "busy", "refuse", "no conditions", "slow"]

REFUSED = b"<?xml version='1.0'?><Error><Code>InvalidAccessKeyId</Code><Message>The key does not exist</Message></Error>"


class Proxy(ThreadingHTTPServer):
    """Passes requests on; ``faults`` befall the next ones, one each, ``always`` all of them."""

    daemon_threads = True

    def __init__(self, upstream: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.faults: deque[Fault] = deque()
        self.always: Fault | None = None
        self.requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that are gone."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _pass(self) -> None:
        self.server.requests += 1
        faults = self.server.faults
        fault = self.server.always or (faults.popleft() if faults else None)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fault == "drop":
            self.close_connection = True
            return
        if fault == "slow":
            time.sleep(0.3)
        if fault in ("refuse", "busy"):
            self._answer(403 if fault == "refuse" else 503, {}, REFUSED if fault == "refuse" else b"")
            return
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
        if fault == "no conditions":
            headers = {k: v for k, v in headers.items() if not k.lower().startswith("if-")}
        upstream = http.client.HTTPConnection(*self.server.upstream)
        upstream.request(self.command, self.path, body=body, headers=headers)
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        if fault == "lose answer":
            self.close_connection = True
            return
        self._answer(answer.status, dict(answer.getheaders()), content, cut=fault == "cut short")

    def _answer(self, status: int, headers: dict[str, str], content: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        dropped = ("connection", "transfer-encoding")
        for name, value in headers.items():
            if name.lower() not in dropped:
                self.send_header(name, value)
        if "content-length" not in map(str.lower, headers):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = cut

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def s3_server() -> Generator[tuple[str, int], None, None]:
    """Host and port of the server."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    yield server.get_host_and_port()
    server.stop()


@pytest.fixture
def proxy(s3_server: tuple[str, int]) -> Generator[Proxy, None, None]:
    """The proxy before the server, without faults."""
    found = Proxy(s3_server)
    threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


@pytest.fixture
def bucket(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """``s3://`` and the name of a new bucket, reached through the proxy; scratch folders lie in ``tmp_path``."""
    name = f"bucket-{uuid4().hex[:12]}"
    urllib.request.urlopen(urllib.request.Request(f"{proxy.url}/{name}", method="PUT")).close()
    for key in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(key, raising=False)
    for key, value in {
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": proxy.url, "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"), "AWS_EC2_METADATA_DISABLED": "true",
        "HARDCASE_SCRATCH": str(tmp_path / "scratch"),
    }.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    return f"s3://{name}"
