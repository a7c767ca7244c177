"""One run: a service, clients, a prober, and what is left."""

from __future__ import annotations

import asyncio
import re
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

from benchmarks.memory import process_bytes
from benchmarks.soak.clients import all_at_work
from benchmarks.soak.evidence import Evidence, Memory
from benchmarks.soak.probe import probing
from tests.cluster.job_client import JobClient
from tests.cluster.recordings import long_recording
from tests.cluster.running import Service, config_file, running
from tests.recordings import DATA

LOOK_S = 2.0
_REPLICA = re.compile(r"ServeReplica:\w+:(\w+)")


@dataclass(frozen=True, slots=True)
class Plan:
    clients: int
    seconds: float
    seed: int


def soak(plan: Plan) -> Evidence:
    """
    Raises:
        AssertionError: The service did not start.
    """
    with tempfile.TemporaryDirectory(prefix="soak") as name:
        folder = Path(name)
        recordings = [*sorted(DATA.glob("LJ*.wav")), long_recording(folder / "long.wav", repeats=2)]
        with running(config_file(folder)) as service:
            return _observed(plan, service, recordings)


def _observed(plan: Plan, service: Service, recordings: list[Path]) -> Evidence:
    end_s = time.monotonic() + plan.seconds
    probes = probing(service.url, plan.seconds)
    with MemoryWatch(service.process.pid, plan.seconds) as memory:
        ledger = asyncio.run(
            all_at_work(service.url, plan.clients, recordings, seed=plan.seed, going=lambda: time.monotonic() < end_s)
        )
    return Evidence(ledger, _ends(service), probes.result(), memory.samples)


def _ends(service: Service) -> dict[str, str]:
    with JobClient.of(service) as jobs:
        return {job["id"]: job["status"] for job in jobs.listed()}


class MemoryWatch:
    """Looks at the memory of a tree of processes as long as clients begin new work; afterwards it would only shrink."""

    def __init__(self, root: int, for_s: float) -> None:
        self._root = root
        self._looks = max(5, int(for_s / LOOK_S))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.samples: list[Memory] = []

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        for _ in range(self._looks):
            self.samples.append(memory_by_kind(self._root))
            if self._ended.wait(LOOK_S):
                return


def memory_by_kind(root: int) -> Memory:
    """Proportional set sizes of a process and all that came from it, in bytes: of each deployment, and of the rest."""
    found: Counter[str] = Counter()
    for process in [psutil.Process(root), *psutil.Process(root).children(recursive=True)]:
        found[_kind(process)] += process_bytes(process.pid)
    return found


def _kind(process: psutil.Process) -> str:
    try:
        title = " ".join(process.cmdline())
    except psutil.Error:
        return "ended"
    replica = _REPLICA.search(title)
    return replica[1] if replica else title.split(" ")[0].rpartition("/")[2].removeprefix("ray::").partition(".")[0]
