"""An application on a loopback port, in a thread, for clients that are other processes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import certifi
import pytest
import uvicorn
from starlette.types import ASGIApp

START_S = 20
END = "-----END CERTIFICATE-----\n"


@dataclass(frozen=True)
class Service:
    """Where a service listens, and a key that it accepts."""

    url: str
    key: str = ""


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Serve the application; yields its URL without a trailing slash."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = _Server(uvicorn.Config(app, log_level="warning", ws="none", timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert server.up.wait(START_S), "the server did not start"
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="session", autouse=True)
def trust_one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Clients of loopback need no certificate, though some insist on one; to read all there are takes each of them 20 ms."""
    bundle = tmp_path_factory.mktemp("certificates") / "one.pem"
    bundle.write_text(certifi.contents().partition(END)[0] + END)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(bundle))
        yield


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()
