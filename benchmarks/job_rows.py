"""The rows about jobs: how fast they are accepted, dispatched and worked on."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil
from httpx_sse import connect_sse
from rich.progress import track

from benchmarks.client import LONGEST_S
from benchmarks.failure import BenchFailed
from benchmarks.large_input import CHANNELS, RATE_HZ, SAMPLE_BYTES, Growth, served, silent_wav, submit
from benchmarks.reference import MODEL, TINY_EN
from benchmarks.results import Measure, Unit
from benchmarks.rows import PAUSE_S, SAMPLE, Finding, Plan, added, client_of, ratio, running_service
from serve_app.jobs.clock import SteadyClock
from serve_app.jobs.job import Claim, NewJob
from serve_app.jobs.sql import SqlJobStore, open_store
from serve_app.transcript.protocols import StoredMedia
from serve_app.transcript.types import DecodingOptions, TranscriptionFinished, TranscriptionOptions
from tests.cluster.running import KEY, Service, poll
from tests.postgres import running_postgres

SUBMITTERS = 32
SUBMITTED = 2000
QUEUED = 10_000
DISPATCHED = 500  # at the full depth of the queue
OWNERS = 20
LEASE_S = 600.0
LONG_JOBS = 16
LARGE_BYTES = 2 * 10**9
FINISHED = TranscriptionFinished(duration_s=3.0, language="en", language_probability=1.0)


def submit_rate(plan: Plan) -> Finding:
    """Jobs accepted for good, by the store alone."""
    sqlite, postgres = (asyncio.run(_submit_rate(kind)) for kind in (_sqlite, _postgres))
    rate = "{:.0f} jobs/s".format
    measure = Measure(
        "jobs accepted durably, SQLite, against PostgreSQL",
        rate(sqlite),
        rate(postgres),
        sqlite / postgres,
        Unit.TIMES,
    )
    how = (
        f"{SUBMITTED} jobs from {SUBMITTERS} submitters at once, in one process, without their audio; each on disk (fsync) before"
        " it is accepted, several in one transaction"
    )
    return Finding(how, (measure,))


def first_event(plan: Plan) -> Finding:
    """How soon a client hears of its job."""
    with running_service(**TINY_EN.service_args()) as service, _http(service) as http:
        _first_event_s(http)
        times_s = [_first_event_s(http) for _ in track(range(plan.calls), "first event")]
    first, tenth = statistics.median(times_s), statistics.quantiles(times_s, n=10)[-1]
    measure = Measure(
        "time from submit to the first event, median",
        f"{1000 * first:.0f} ms",
        f"{1000 * tenth:.0f} ms, 9 of 10 below",
        1000 * first,
        Unit.MS,
    )
    return Finding(
        f"{plan.calls} jobs of an 11 s clip one after the other: POST, then the SSE stream, on SQLite", (measure,)
    )


def long_queue(plan: Plan) -> Finding:
    """What a job costs to dispatch while many wait."""
    (sqlite_ms, sqlite_mb), (postgres_ms, postgres_mb) = (
        asyncio.run(_long_queue(kind)) for kind in (_sqlite, _postgres)
    )
    measures = (
        Measure(
            "claim and end of a job, 10,000 queued, SQLite, median",
            f"{sqlite_ms:.1f} ms",
            "–",
            sqlite_ms,
            Unit.MS,
            at_most=50,
        ),
        Measure("the same, PostgreSQL", f"{postgres_ms:.1f} ms", "–", postgres_ms, Unit.MS, at_most=50),
        Measure("memory after 500 dispatches, SQLite", f"{sqlite_mb:+.1f} MB", "before", sqlite_mb, Unit.MB),
        Measure("the same, PostgreSQL", f"{postgres_mb:+.1f} MB", "before", postgres_mb, Unit.MB),
    )
    how = f"{QUEUED} jobs of {OWNERS} owners in the queue; {DISPATCHED} are claimed and ended one after the other, durably"
    return Finding(how, measures)


def job_throughput(plan: Plan) -> Finding:
    """A long file as a job, against the same as a request."""
    path = plan.corpus.long_file().path
    requests: list[float] = []
    jobs: list[float] = []
    with (
        running_service(**TINY_EN.service_args()) as service,
        client_of(service, MODEL) as client,
        _http(service) as http,
    ):
        client.transcribe(SAMPLE)
        for _ in track(range(plan.rounds), "job throughput"):
            # A job always finds the time of each word, so the request must too.
            requests.append(1 / client.transcribe(path, response_format="verbose_json").took_s)
            time.sleep(PAUSE_S)
            jobs.append(1 / _job_s(http, path))
            time.sleep(PAUSE_S)
    measure = ratio(
        "long file as a job, against a request", jobs, requests, lambda rate: f"{1 / rate:.1f} s", at_least=0.95
    )
    how = "the file of the row on long files, from its upload to `done`, against a request for `verbose_json`, in turns"
    return Finding(how, (measure,))


def beside_sync(plan: Plan) -> Finding:
    """What a request waits for while long jobs have the recogniser busy."""
    path = plan.corpus.long_file().path
    with (
        running_service(**TINY_EN.service_args()) as service,
        client_of(service, MODEL) as client,
        _http(service) as http,
    ):
        client.transcribe(SAMPLE)
        idle = [client.transcribe(SAMPLE).took_s for _ in track(range(plan.calls), "idle")]
        jobs = [_submit_file(http, path) for _ in range(LONG_JOBS)]
        poll(lambda: _all_begun(http, jobs), deadline_s=LONGEST_S)
        busy = [client.transcribe(SAMPLE).took_s for _ in track(range(plan.calls), "beside jobs")]
        if _ended(http, jobs):
            raise BenchFailed("jobs ended before the last request did, so it had the service for itself")
    measures = (
        added(f"11 s clip, p50: beside {LONG_JOBS} long jobs, against an idle service", busy, idle),
        added("the same, the longest", busy, idle, of=max),
    )
    how = (
        f"{plan.calls} requests one after the other, before and while {LONG_JOBS} jobs of the file of the row on long files run,"
        " as many as run at a time"
    )
    return Finding(how, measures)


def _all_begun(http: httpx.Client, jobs: Sequence[str]) -> bool | None:
    return True if all(_job(http, job_id)["segments"] for job_id in jobs) else None


def _ended(http: httpx.Client, jobs: Sequence[str]) -> list[str]:
    return [job_id for job_id in jobs if _job(http, job_id)["status"] != "running"]


def _job(http: httpx.Client, job_id: str) -> dict[str, Any]:
    return dict(http.get(f"/jobs/{job_id}").raise_for_status().json())


def large_input(plan: Plan) -> Finding:
    """Whether a process holds what passes through it."""
    args = TINY_EN.service_args() | {"outbound": {"allow": ["127.0.0.0/8"]}}
    with tempfile.TemporaryDirectory(prefix="large") as folder, served(Path(folder)) as base_url:
        path = silent_wav(Path(folder) / "silence.wav", LARGE_BYTES)
        with running_service(**args) as service:
            submit(service, str(SAMPLE))
            measures = tuple(
                _growth(service, how, source) for how, source in (("tus", str(path)), ("url", f"{base_url}{path.name}"))
            )
    hours = LARGE_BYTES / (RATE_HZ * CHANNELS * SAMPLE_BYTES) / 3600
    how = f"a WAV file of {hours:.1f} h of silence by `rayscribe submit --wait`, until its job is done; proportional set sizes"
    return Finding(how, measures)


def _growth(service: Service, how: str, source: str) -> Measure:
    with Growth(service.process.pid) as growth:
        submit(service, source)
    grown_mb = growth.most_bytes / 1e6
    return Measure(
        f"{LARGE_BYTES / 1e9:.0f} GB by {how}: growth of the process that grows most",
        f"{grown_mb:.0f} MB",
        "before",
        grown_mb,
        Unit.MB,
        at_most=200,
    )


JOB_ROWS: dict[str, Callable[[Plan], Finding]] = {
    "jobs-submit": submit_rate,
    "jobs-first-event": first_event,
    "jobs-queue": long_queue,
    "jobs-throughput": job_throughput,
    "jobs-beside-sync": beside_sync,
    "jobs-large": large_input,
}

Stores = Callable[[], contextlib.AbstractAsyncContextManager[SqlJobStore]]


@contextlib.asynccontextmanager
async def _sqlite() -> AsyncIterator[SqlJobStore]:
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        store = await open_store(Path(folder) / "jobs.sqlite3", SteadyClock())
        try:
            yield store
        finally:
            await store.close()


@contextlib.asynccontextmanager
async def _postgres() -> AsyncIterator[SqlJobStore]:
    with running_postgres(durable=True) as server:
        if server is None:
            raise BenchFailed("there are no PostgreSQL binaries here: apt-get install postgresql")
        store = await open_store(server.url, SteadyClock())
        try:
            yield store
        finally:
            await store.close()


def _new_job(owner: str) -> NewJob:
    options = TranscriptionOptions(DecodingOptions(MODEL))
    return NewJob(str(uuid.uuid4()), owner, StoredMedia("media/nowhere"), options)


async def _submit_rate(stores: Stores) -> float:
    async with stores() as store:
        began = time.perf_counter()
        await _submit(store, SUBMITTED)
        return SUBMITTED / (time.perf_counter() - began)


async def _submit(store: SqlJobStore, count: int) -> None:
    async def submitter(number: int) -> None:
        for _ in range(count // SUBMITTERS):
            await store.submit(_new_job(f"owner-{number % OWNERS}"))

    await asyncio.gather(*map(submitter, range(SUBMITTERS)))


async def _long_queue(stores: Stores) -> tuple[float, float]:
    """Milliseconds a job, and what the process has grown by, in MB."""
    async with stores() as store:
        await _submit(store, QUEUED)
        epoch = await store.take_over()
        await _dispatch(store, epoch)
        before = psutil.Process().memory_info().rss
        times_s = [await _timed(lambda: _dispatch(store, epoch)) for _ in range(DISPATCHED)]
        grown = psutil.Process().memory_info().rss - before
    return 1000 * statistics.median(times_s), grown / 1e6


async def _dispatch(store: SqlJobStore, epoch: int) -> None:
    claim: Claim | None = await store.claim(epoch, lease_s=LEASE_S)
    assert claim is not None
    await store.record(claim.lease, FINISHED)


async def _timed(work: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


@contextlib.contextmanager
def _http(service: Service) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=LONGEST_S, trust_env=False) as http:
        yield http


def _submit_file(http: httpx.Client, path: Path) -> str:
    answer = http.post("/jobs", files={"audio": (path.name, path.read_bytes())}, data={"model": MODEL})
    if answer.status_code != 202:
        raise BenchFailed(f"POST /jobs: {answer.status_code} {answer.text[:200]}")
    return str(answer.json()["job_id"])


def _first_event_s(http: httpx.Client) -> float:
    began = time.perf_counter()
    job_id = _submit_file(http, SAMPLE)
    first_s = 0.0
    with connect_sse(http, "GET", f"/jobs/{job_id}/stream") as events:
        for event in events.iter_sse():
            first_s = first_s or time.perf_counter() - began
            if event.event in ("done", "failed", "cancelled"):
                break
    return first_s


def _job_s(http: httpx.Client, path: Path) -> float:
    began = time.perf_counter()
    job_id = _submit_file(http, path)
    with connect_sse(http, "GET", f"/jobs/{job_id}/stream") as events:
        for event in events.iter_sse():
            if event.event == "done":
                return time.perf_counter() - began
            if event.event in ("failed", "cancelled"):
                break
    raise BenchFailed(f"the job ended otherwise: {http.get(f'/jobs/{job_id}').text[:200]}")
