"""A proxy with a grudge: it cuts every connection that has brought something."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit


class CuttingProxy:
    """
    Passes bytes to a service and back, and looks every `every_s` seconds for connections to cut: those that brought an answer,
    because on a busy machine the others might never bring one.

    Attributes:
        cut: How many connections it cut.
    """

    def __init__(self, url: str, *, every_s: float) -> None:
        self._target = ("127.0.0.1", urlsplit(url).port or 80)
        self._every_s = every_s
        self._stopped = threading.Event()
        self._open: set[socket.socket] = set()
        self._answered: set[socket.socket] = set()
        self.cut = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            threads = [threading.Thread(target=work) for work in (lambda: self._accept(listener), self._keep_cutting)]
            for thread in threads:
                thread.start()
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                self._stopped.set()
                listener.shutdown(socket.SHUT_RDWR)
                for thread in threads:
                    thread.join()

    def _accept(self, listener: socket.socket) -> None:
        passing = []
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(self._target)
                self._open |= {near, far}
                for source, sink, passed in ((near, far, set()), (far, near, self._answered)):
                    passing.append(threading.Thread(target=_pass, args=(source, sink, passed)))
                    passing[-1].start()
        self._cut(self._open)
        for thread in passing:
            thread.join()

    def _keep_cutting(self) -> None:
        while not self._stopped.wait(self._every_s):
            self._cut(self._answered)

    def _cut(self, connections: set[socket.socket]) -> None:
        with contextlib.suppress(KeyError):  # two threads may cut at once, and one of them finds nothing left
            while True:
                _end(connections.pop())
                self.cut += 1


def _pass(source: socket.socket, sink: socket.socket, passed: set[socket.socket]) -> None:
    """Pass bytes on until either end closes; whatever passed some is noted."""
    with contextlib.suppress(OSError):
        while block := source.recv(65536):
            sink.sendall(block)
            passed |= {source, sink}
    _end(sink)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
