"""Receivers of notifications on loopback: a webhook that can be told how to behave, and SMTP."""

import hashlib
import hmac
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class Receiver:
    """A webhook receiver that checks signatures and tells a message by its key.

    Attributes:
        secret: Key of the signature.
        answers: Status and headers of the next answers; 200 when there are none left.
        requests: Headers and body of everything that came, in order.
        taken: Bodies that were taken, by key: each once.
        delay_s: Seconds before each answer.
        poison: Asset that it fails on.
        padding: Further bytes that it answers with.
    """

    secret: str = "s3cret-key"  # noqa: S105 - of a server on loopback
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    taken: dict[str, Any] = field(default_factory=dict)
    delay_s: float = 0.0
    poison: str = ""
    padding: int = 0
    url: str = ""

    @property
    def keys(self) -> list[str]:
        return [headers["Idempotency-Key"] for headers, _ in self.requests]

    @property
    def events(self) -> list[tuple[str, str]]:
        """What happened to which asset, over all messages that were taken."""
        return [
            (event["what"], event["asset"])
            for body in self.taken.values()
            for event in body["events"]
        ]

    def take(self, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        self.requests.append((headers, body))
        signed = headers["X-Vae-Anomaly-Timestamp"].encode() + b"." + body
        expected = hmac.new(self.secret.encode(), signed, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(headers["X-Vae-Anomaly-Signature"], f"v1={expected}"):
            return 401, {}
        status, extra = self.answers.pop(0) if self.answers else (200, {})
        if status >= 300:
            return status, extra
        if self.poison and f'"asset": "{self.poison}"'.encode() in body:
            return 500, {}
        self.taken.setdefault(headers["Idempotency-Key"], json.loads(body))
        return 200, extra


@contextmanager
def run_receiver(receiver: Receiver, *, port: int = 0) -> Iterator[Receiver]:
    """Run a receiver; without a port on one of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, extra = receiver.take(dict(self.headers), body)
            time.sleep(receiver.delay_s)
            try:
                self.send_response(status)
                for name, value in extra.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"noted " + self.headers["X-Vae-Anomaly-Signature"].encode())
                self.wfile.write(b"x" * receiver.padding)
            except (BrokenPipeError, ConnectionResetError):  # who asked did not wait
                return

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = False
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def find_free_port() -> int:
    """Find a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
