"""The stores under test, and what tests need to know of each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event, text

from serve_app.jobs.job import Announcement, Claim, JobError, NewJob, News, Priority
from serve_app.jobs.leadership import Leadership
from serve_app.jobs.sql import SqlJobStore, leading
from serve_app.jobs.store import JobStore
from serve_app.testing import FakeClock
from serve_app.transcript.types import TranscriptionFinished, TranscriptWarning, WarningCode
from tests.unit.jobs.examples import MEDIA, NOON, OPTIONS

ALICE, BOB = "alice", "bob"
HOOK = "https://example.org/hook"
LEASE_S = 30.0
END = TranscriptionFinished(61.5, "en", 0.9, (TranscriptWarning(WarningCode.REPETITION, "Again.", 1.0, 2.0),), 60.0, 1)
BROKEN = JobError("invalid_audio", "Not audio.")


@dataclass(frozen=True)
class Opened:
    """A store, its clock, and how another process would open the same data."""

    store: JobStore
    clock: FakeClock
    again: Callable[[], Awaitable[JobStore]]


def new_job(job_id: str, owner: str = ALICE, **values: Any) -> NewJob:
    return NewJob(**{"job_id": job_id, "owner": owner, "source": MEDIA, "options": OPTIONS, **values})


def announcement(news: News = News.MODEL_READY, model_id: str = "tiny.en") -> Announcement:
    return Announcement(news, model_id, news.removeprefix("model_"), "loaded", NOON)


async def empty(store: SqlJobStore) -> None:
    """As after the first start."""
    async with store._database.writing() as tx:
        for table in ("jobs", "turns", "deliveries", "addresses", "announced"):
            await tx.execute(text(f"DELETE FROM {table}"))
        await leading.keep_leadership(tx, Leadership())


async def cancelled_at(store: JobStore, n: int, call: Coroutine[Any, Any, object]) -> bool:
    """Cancel a call while the database works on its n-th statement; whether there were as many."""
    task = asyncio.create_task(call)
    statements = 0

    def cancel(*_: object) -> None:
        nonlocal statements
        if statements == n:
            asyncio.get_running_loop().call_soon(task.cancel)
        statements += 1

    if isinstance(store, SqlJobStore):
        engine = store._database.engine.sync_engine
        for name in ("before_cursor_execute", "commit"):
            event.listen(engine, name, cancel)
        await asyncio.wait([task])
        for name in ("before_cursor_execute", "commit"):
            event.remove(engine, name, cancel)
    await asyncio.gather(task, return_exceptions=True)
    return statements > n


async def claim(store: JobStore, epoch: int, *, only: Priority | None = None) -> Claim:
    claimed = await store.claim(epoch, lease_s=LEASE_S, only=only)
    assert claimed is not None
    return claimed


async def claimed_ids(store: JobStore, epoch: int) -> list[str]:
    ids = []
    while claimed := await store.claim(epoch, lease_s=LEASE_S):
        ids.append(claimed.lease.job_id)
    return ids


async def kinds(store: JobStore, job_id: str) -> list[str]:
    return [event.kind for event in await store.events(job_id, after_seq=0, limit=100)]
