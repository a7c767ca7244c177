"""Asks `/health` as a kubelet does: from a process of its own, on a new connection each time."""

from __future__ import annotations

import contextlib
import http.client
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

EVERY_S = 0.2
PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Probe:
    status: int  # 0: no answer
    at_s: float  # after the first one
    took_s: float
    late_s: (
        float  # after its time, because the processors were busy: of an answer's time about as much is the prober's own
    )


def probing(url: str, for_s: float) -> Future[list[Probe]]:
    """Begin now, beside the clients, whose event loop is too busy to measure with."""
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    probes = pool.submit(probe, url, for_s)
    pool.shutdown(wait=False)
    return probes


def probe(url: str, for_s: float) -> list[Probe]:
    """Also while earlier ones wait: one that takes seconds must not stand for all that would have been asked meanwhile."""
    host = url.removeprefix("http://")
    began_s = time.monotonic()
    with ThreadPoolExecutor(int(PATIENCE_S / EVERY_S) + 1) as pool:
        asked = []
        for number in range(int(for_s / EVERY_S)):
            due_s = began_s + number * EVERY_S
            time.sleep(max(0.0, due_s - time.monotonic()))
            asked.append(pool.submit(_ask, host, number * EVERY_S, due_s))
        return [future.result() for future in asked]


def _ask(host: str, at_s: float, due_s: float) -> Probe:
    began_s = time.monotonic()
    status = 0
    connection = http.client.HTTPConnection(host, timeout=PATIENCE_S)
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
        connection.request("GET", "/health")
        answer = connection.getresponse()
        answer.read()
        status = answer.status
    return Probe(status, at_s, time.monotonic() - began_s, began_s - due_s)
