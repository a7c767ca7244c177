"""A receiver of webhooks on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Came:
    delivery_id: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Receiver:
    """
    Attributes:
        came: What was delivered, in order.
    """

    url: str
    came: list[Came] = field(default_factory=list)

    def of(self, job_id: str) -> list[Came]:
        return [came for came in list(self.came) if came.body.get("id") == job_id]

    def told(self, model_id: str) -> list[str]:
        """What lifecycle webhooks said of a model, in order."""
        return [
            came.body["type"]
            for came in list(self.came)
            if came.body.get("model") == model_id and "id" not in came.body
        ]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Listen on a loopback port for as long as the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            receiver.came.append(Came(self.headers["webhook-id"], body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Not to standard error."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(f"http://127.0.0.1:{server.server_port}/hook")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
