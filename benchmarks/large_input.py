"""A file of gigabytes on its way into the service, and what each process grows by meanwhile."""

from __future__ import annotations

import contextlib
import functools
import struct
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from benchmarks.failure import BenchFailed
from benchmarks.memory import process_bytes
from tests.cluster.running import KEY, RAYSCRIBE, Service

RATE_HZ, CHANNELS, SAMPLE_BYTES = 48_000, 2, 2
EVERY_S = 0.5
LONGEST_S = 900


def silent_wav(path: Path, size_bytes: int) -> Path:
    """A WAV file of silence; the file system keeps only its header."""
    frame = CHANNELS * SAMPLE_BYTES
    kind = struct.pack("<HHIIHH", 1, CHANNELS, RATE_HZ, RATE_HZ * frame, frame, 8 * SAMPLE_BYTES)
    head = b"WAVEfmt " + struct.pack("<I", len(kind)) + kind + b"data" + struct.pack("<I", size_bytes)
    with path.open("wb") as file:
        file.write(b"RIFF" + struct.pack("<I", len(head) + size_bytes) + head)
        file.truncate(file.tell() + size_bytes)
    return path


def submit(service: Service, source: str) -> None:
    """
    `rayscribe submit SOURCE --wait`, in a process of its own.

    Raises:
        BenchFailed: The job did not end well.
    """
    command = [RAYSCRIBE, "submit", source, "--wait", "--json", "--url", service.url, "--api-key", KEY]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONGEST_S)
    if ended.returncode:
        raise BenchFailed(f"submit ended with {ended.returncode}: {ended.stderr[-400:]}")


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The files of a folder over HTTP on loopback; gives the URL before their names."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


class Growth:
    """
    The most that any process of a tree grows by while this context is open.

    Attributes:
        most_bytes: Of the process that grew most; one that was not there before counts whole.
    """

    def __init__(self, root: int) -> None:
        self._root = psutil.Process(root)
        self._before = {pid: process_bytes(pid) for pid in self._pids()}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.most_bytes = 0

    def __enter__(self) -> Growth:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(EVERY_S):
            for pid in self._pids():
                self.most_bytes = max(self.most_bytes, process_bytes(pid) - self._before.get(pid, 0))

    def _pids(self) -> list[int]:
        return [self._root.pid, *(child.pid for child in self._root.children(recursive=True))]
