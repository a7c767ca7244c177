"""
How many jobs a second a store accepts for good, and how long a claim from a long queue takes.

    python -m benchmarks.job_store                                  a file in the working directory's filesystem
    python -m benchmarks.job_store postgresql://user@host/database  an empty database
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
import uuid
from pathlib import Path

from serve_app.jobs.job import NewJob
from serve_app.jobs.sql import SqlJobStore, open_store
from serve_app.testing import FakeClock
from serve_app.transcript.protocols import StoredMedia
from serve_app.transcript.types import DecodingOptions, TranscriptionOptions

OPTIONS = TranscriptionOptions(DecodingOptions("tiny.en"))
QUEUED = 10_000
CLIENTS = 32
CLAIMS = 200
OWNERS = 10


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?", help="of a PostgreSQL database; without one, SQLite")
    url: str | None = parser.parse_args().url
    with tempfile.TemporaryDirectory(dir=".") as folder:
        store = await open_store(url or Path(folder) / "jobs.sqlite3", FakeClock().utc)
        try:
            await measure(store)
        finally:
            await store.close()


async def measure(store: SqlJobStore) -> None:
    print(f"one client:    {await submit_rate(store, clients=1, count=300):7.0f} jobs/s accepted")
    print(f"{CLIENTS} clients:    {await submit_rate(store, clients=CLIENTS, count=QUEUED - 300):7.0f} jobs/s accepted")
    times_ms = sorted(await claim_times_ms(store))
    print(f"claim of {QUEUED}: median {statistics.median(times_ms):.1f} ms, 99 % within {times_ms[-3]:.1f} ms")


async def submit_rate(store: SqlJobStore, *, clients: int, count: int) -> float:
    """Jobs a second, each of `clients` submitting one after the other."""

    async def submit_some() -> None:
        for n in range(count // clients):
            await store.submit(NewJob(str(uuid.uuid4()), f"owner {n % OWNERS}", StoredMedia("audio"), OPTIONS))

    began_s = time.perf_counter()
    await asyncio.gather(*(submit_some() for _ in range(clients)))
    return count / (time.perf_counter() - began_s)


async def claim_times_ms(store: SqlJobStore) -> list[float]:
    epoch = await store.take_over()
    times_ms = []
    for _ in range(CLAIMS):
        began_s = time.perf_counter()
        await store.claim(epoch, lease_s=3600)
        times_ms.append(1000 * (time.perf_counter() - began_s))
    return times_ms


if __name__ == "__main__":
    asyncio.run(main())
