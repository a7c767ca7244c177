"""SIGTERM to a service whose jobs lie in PostgreSQL: the next service need not wait for it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from serve_app.jobs.clock import SteadyClock
from serve_app.jobs.sql import open_store
from tests.cluster.running import config_file, poll, running
from tests.postgres import running_postgres


@pytest.mark.slow
async def test_service_that_was_told_to_stop_leaves_the_lead_to_whoever_comes_next(tmp_path: Path) -> None:
    with running_postgres() as postgres:
        if postgres is None:
            pytest.skip("there are no binaries of PostgreSQL")
        with running(config_file(tmp_path, preload=[]), RAYSCRIBE_DATABASE_URL=postgres.url) as service:
            poll(lambda: "leads, in epoch 1" in service.log.read_text(errors="replace") or None, deadline_s=60)
            service.process.send_signal(signal.SIGTERM)
            service.process.wait(timeout=90)
        store = await open_store(postgres.url, SteadyClock())
        known = await store.ask("another cluster", ready=False)
        await store.close()

    assert (known.epoch, known.cluster) == (1, None)
