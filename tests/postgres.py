"""A PostgreSQL of our own, on a Unix socket in a short-lived directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

START_S = 30
STOP_S = 20
UNPRIVILEGED = "postgres"  # made by Debian's package; PostgreSQL refuses to run as root
QUICK = (
    "-c", "listen_addresses=",
    "-c", "max_connections=60",
    "-c", "shared_buffers=16MB",
    "-c", "dynamic_shared_memory_type=mmap",
)  # fmt: skip


def binaries() -> Path | None:
    """Where `initdb` and `postgres` lie; None when there are none."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


class Postgres:
    """
    A server, ended by its pid.

    Attributes:
        url: Of its database `postgres`.
    """

    def __init__(self, bin_dir: Path, folder: Path, *, durable: bool) -> None:
        self._bin_dir = bin_dir
        self._folder = folder
        self._arguments = (*QUICK, "-c", f"fsync={'on' if durable else 'off'}")
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql://tester@/postgres?host={folder}"

    def init(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self._folder, UNPRIVILEGED)
        subprocess.run(
            self._as_user("initdb", "-D", str(self._data), "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync"),
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._as_user("postgres", "-D", str(self._data), "-k", str(self._folder), *self._arguments),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
        )
        give_up_at = time.monotonic() + START_S
        while not self._is_ready():
            assert self._process.poll() is None, "PostgreSQL ended while it started"
            assert time.monotonic() < give_up_at, "PostgreSQL did not start"
            time.sleep(0.1)

    def stop(self) -> None:
        """End it at once, and with it its connections."""
        if self._process is None:
            return
        os.kill(int((self._data / "postmaster.pid").read_text().split()[0]), 2)  # SIGINT: PostgreSQL's fast shutdown
        self._process.wait(STOP_S)
        self._process = None

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _is_ready(self) -> bool:
        command = [str(self._bin_dir / "pg_isready"), "-q", "-h", str(self._folder)]
        return subprocess.run(command, check=False).returncode == 0

    def _as_user(self, name: str, *arguments: str) -> Sequence[str]:
        command = [str(self._bin_dir / name), *arguments]
        return ["runuser", "-u", UNPRIVILEGED, "--", *command] if os.geteuid() == 0 else command


@contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[Postgres | None]:
    """
    A server with an empty database; None where no binaries are.

    Args:
        durable: Write as in production; tests are quicker without.
    """
    bin_dir = binaries()
    if bin_dir is None:
        yield None
        return
    # Short, because a socket's path has at most 107 bytes; and not in pytest's folder, which is root's alone.
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    server = Postgres(bin_dir, folder, durable=durable)
    try:
        server.init()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
