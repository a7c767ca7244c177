"""What every verb of every job store promises."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from serve_app.jobs.job import JobQuery
from serve_app.jobs.store import JobStore
from tests.service.jobs.stores import LEASE_S, cancelled_at, new_job


@pytest.mark.parametrize("verb", ["submit", "claim", "cancel", "page", "events"])
async def test_call_that_is_cancelled_at_any_statement_keeps_nobody_waiting(
    store: JobStore, epoch: int, verb: str
) -> None:
    for n in itertools.count():
        job_id = f"{verb} {n}"
        await store.submit(new_job(job_id))
        calls: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
            "submit": partial(store.submit, new_job(f"another {n}")),
            "claim": partial(store.claim, epoch, lease_s=LEASE_S),
            "cancel": partial(store.cancel, job_id),
            "page": partial(store.page, JobQuery()),
            "events": partial(store.events, job_id, after_seq=0, limit=9),
        }
        if not await cancelled_at(store, n, calls[verb]()):
            return
        async with asyncio.timeout(30):
            await store.cancel(job_id)
