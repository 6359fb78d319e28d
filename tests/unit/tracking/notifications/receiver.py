"""A receiver of webhooks: a real HTTP server that keeps what it gets and answers as it is told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

SECRET = "whsec_" + "c2VjcmV0LWtleS1vZi10aGlydHktdHdvLWJ5dGVzLjEyMw=="


class Receiver:
    """`received` holds the verified documents; `answers` the statuses and headers of the next replies, then 204."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.holds = threading.Event()
        """Replies wait until it is set."""
        self.holds.set()
        self.has_request = threading.Event()
        self.url = ""

    def take(self, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        document = Webhook(SECRET).verify(body, headers)  # raises for a wrong signature
        self.ids.append(headers["webhook-id"])
        self.has_request.set()
        self.holds.wait(20)
        status, more = self.answers.pop(0) if self.answers else (204, {})
        if status < 300:
            self.received.append(document)
        return status, more

    @property
    def kinds(self) -> list[str]:
        return [document["type"] for document in self.received]


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, more = receiver.take(headers, body)
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    try:
        yield receiver
    finally:
        receiver.holds.set()
        server.shutdown()
        server.server_close()
