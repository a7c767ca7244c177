"""A model hub on loopback that answers as the real one does, as far as the hub's library asks."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "c0ffee" * 6 + "abcd"
ENGLISH = json.dumps({"added_tokens": [{"id": 50257, "content": "<|startoftranscript|>"}]}).encode()
MULTILINGUAL = json.dumps({"added_tokens": [{"id": 50258, "content": "<|startoftranscript|>"}]}).encode()
MODEL: Mapping[str, bytes] = {
    "README.md": b"hello",
    "config.json": b"{}",
    "tokenizer.json": ENGLISH,
    "vocabulary.txt": b"a\nb\n",
    "model.bin": bytes(range(256)) * 4096,
}
LARGE = ("model.bin",)  # in Git LFS: a SHA-256, and sent by another host


@dataclass
class Request:
    method: str
    host: str
    path: str
    token: str | None
    range: str | None


@dataclass
class FakeHub:
    """
    Attributes:
        cut_after: File → bytes after which the connection breaks, once.
        wrong: Files that are sent with one byte changed.
        gate: File → set when half of it is out, and the event that lets the rest go.
        token: What a client must show; None: nothing.
    """

    repositories: dict[str, dict[str, bytes]] = field(
        default_factory=lambda: {"Systran/faster-whisper-test": dict(MODEL)}
    )
    commit: str = COMMIT
    cut_after: dict[str, int] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)
    gate: dict[str, tuple[threading.Event, threading.Event]] = field(default_factory=dict)
    token: str | None = None
    status: int = 200
    tells_sums: bool = True
    requests: list[Request] = field(default_factory=list)
    port: int = 0
    storage_port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def asked(self, name: str) -> list[Request]:
        """Requests for the bytes of a file, not those that were sent on to another host."""
        return [request for request in self.requests if request.path.endswith(f"/{name}") and self._sends(request)]

    def _sends(self, request: Request) -> bool:
        return request.path.startswith("/storage/") == request.path.endswith(LARGE)


@contextlib.contextmanager
def serving_hub(hub: FakeHub) -> Iterator[FakeHub]:
    """The hub on one address, and the storage of its large files on another host name."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _answer(hub, self)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    hub.port, hub.storage_port = (server.server_port for server in servers)
    threads = [threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005}) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


def _answer(hub: FakeHub, request: BaseHTTPRequestHandler) -> None:
    token = request.headers.get("Authorization")
    path = request.path.partition("?")[0]
    hub.requests.append(Request(request.command, request.headers["Host"], path, token, request.headers.get("Range")))
    if hub.status != 200:
        _send(request, hub.status, b"")
    elif path.startswith("/storage/"):
        _storage(hub, request, path.removeprefix("/storage/"))
    elif hub.token is not None and token != f"Bearer {hub.token}":
        _send(request, 401, b"", {"X-Error-Code": "RepoNotFound"})
    elif path.startswith("/api/models/"):
        _info(hub, request, path.removeprefix("/api/models/"))
    else:
        _resolve(hub, request, path)


def _info(hub: FakeHub, request: BaseHTTPRequestHandler, path: str) -> None:
    repository, _, revision = path.partition("/revision/")
    files = hub.repositories.get(repository)
    if files is None:
        _send(request, 404, b"", {"X-Error-Code": "RepoNotFound"})
    elif revision not in ("", "main", "v1", hub.commit):
        _send(request, 404, b"", {"X-Error-Code": "RevisionNotFound"})
    else:
        siblings = [_sibling(name, data) if hub.tells_sums else {"rfilename": name} for name, data in files.items()]
        body = {"id": repository, "modelId": repository, "sha": hub.commit, "siblings": siblings, "tags": []}
        _send(request, 200, json.dumps(body).encode(), {"Content-Type": "application/json"})


def _sibling(name: str, data: bytes) -> dict[str, Any]:
    git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    known: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": git}
    if name in LARGE:
        known["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return known


def _resolve(hub: FakeHub, request: BaseHTTPRequestHandler, path: str) -> None:
    repository, _, rest = path.removeprefix("/").partition("/resolve/")
    name = rest.partition("/")[2]
    if name not in hub.repositories.get(repository, {}):
        _send(request, 404, b"", {"X-Error-Code": "EntryNotFound"})
    elif name in LARGE:
        location = f"http://localhost:{hub.storage_port}/storage/{repository}/{name}"
        _send(request, 302, b"", {"Location": location, "X-Repo-Commit": hub.commit})
    else:
        _bytes(hub, request, name, hub.repositories[repository][name])


def _storage(hub: FakeHub, request: BaseHTTPRequestHandler, path: str) -> None:
    repository, _, name = path.rpartition("/")
    _bytes(hub, request, name, hub.repositories[repository][name])


def _bytes(hub: FakeHub, request: BaseHTTPRequestHandler, name: str, data: bytes) -> None:
    if name in hub.wrong:
        data = bytes([data[0] ^ 1]) + data[1:]
    first = int((request.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
    head = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"} if first else {}
    body = data[first:]
    if name in hub.cut_after:
        cut = hub.cut_after.pop(name)
        _send(request, 206 if first else 200, body[:cut], head, length=len(body))
        request.close_connection = True
    elif name in hub.gate:
        half_out, go_on = hub.gate[name]
        _send(request, 206 if first else 200, body[: len(body) // 2], head, length=len(body))
        half_out.set()
        go_on.wait(30)
        request.wfile.write(body[len(body) // 2 :])
    else:
        _send(request, 206 if first else 200, body, head)


def _send(
    request: BaseHTTPRequestHandler,
    status: int,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    length: int | None = None,
) -> None:
    request.send_response(status)
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body) if length is None else length))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)
        request.wfile.flush()
