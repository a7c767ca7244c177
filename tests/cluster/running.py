"""A real `rayscribe serve` in a process of its own: real Ray, real model, real HTTP."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import yaml
from openai import OpenAI

RAYSCRIBE = str(Path(sys.executable).with_name("rayscribe"))
ROOT = Path(__file__).resolve().parents[2]
START_S = 180
KEY = "cluster-test-key"
PORTS = range(20_000, 32_000)  # above those of Ray's workers, below those that the kernel gives to whoever asks for any
_PORTS = iter(random.sample(PORTS, len(PORTS)))
T = TypeVar("T")


@dataclass(frozen=True)
class Service:
    """A running service."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def client(self, **options: Any) -> OpenAI:
        return OpenAI(
            base_url=f"{self.url}/v1", api_key=KEY, max_retries=0, _strict_response_validation=True, **options
        )

    def pids(self, deployment: str) -> list[int]:
        """Processes of a deployment's replicas."""
        return pids_below(self.process.pid, f"ServeReplica:rayscribe:{deployment}")

    def controller(self) -> list[int]:
        """The process of Serve's that starts replicas; while it stands still, none starts and none is told to go."""
        return pids_below(self.process.pid, "ServeController")


def pids_below(root: int, title: str) -> list[int]:
    """Those of its descendants that Ray has given this title."""
    found = []
    for child in psutil.Process(root).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if title in " ".join(child.cmdline()):
                found.append(child.pid)
    return found


def free_port() -> int:
    """One that nobody is given before it is used, and never the same twice."""
    for port in _PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free")


def poll(look: Callable[[], T | None], *, deadline_s: float, every_s: float = 0.2) -> T:
    """Wait for another process to make `look` return something."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if (found := look()) is not None:
            return found
        time.sleep(every_s)
    raise TimeoutError(f"nothing after {deadline_s} s")


def config_file(folder: Path, **args: Any) -> Path:
    """`configs/local.yaml` with other settings."""
    tree = yaml.safe_load((ROOT / "configs" / "local.yaml").read_text())
    tree["applications"][0]["args"] = {"preload": ["tiny.en"], "data_dir": str(folder / "data"), **args}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@contextlib.contextmanager
def environment(**more: str) -> Iterator[dict[str, str]]:
    """For one service, whose folder of Ray goes with it."""
    # Not in pytest's folder: the path of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="rs", ignore_cleanup_errors=True) as ray_folder:
        yield {**os.environ, "RAY_TMPDIR": ray_folder, "API_KEY": KEY, **more}


@contextlib.contextmanager
def running(config: Path, *, command: Sequence[str] = (RAYSCRIBE, "serve"), **more: str) -> Iterator[Service]:
    """Start the service, give it when it is ready, and end it as an operator would."""
    port = free_port()
    log = config.with_suffix(".log")
    with environment(PORT=str(port), **more) as env:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, str(config)], env=env, stdout=output, stderr=subprocess.STDOUT, cwd=config.parent
            )
        try:
            poll(lambda: _ready(process, log), deadline_s=START_S)
            yield Service(f"http://127.0.0.1:{port}", process, log)
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM twice (the second does not drain), and SIGKILL for what is left of it."""
    family = [*psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
    for _ in range(2):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=15)
            break
    if process.poll() is None:
        process.kill()
    for child in family:
        with contextlib.suppress(psutil.Error):
            child.kill()
    psutil.wait_procs(family, timeout=15)  # what still writes would be in the way of who deletes its folder


def _ready(process: subprocess.Popen[bytes], log: Path) -> bool | None:
    text = log.read_text(errors="replace")
    if process.poll() is not None:
        raise AssertionError(f"the service ended with {process.returncode}:\n{text[-4000:]}")
    return True if "ready after" in text else None
