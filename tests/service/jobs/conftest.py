"""A store of each kind, empty."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from serve_app.jobs.sql import open_store
from serve_app.jobs.store import JobStore
from serve_app.testing import FakeClock, InMemoryJobStore
from tests.postgres import Postgres, running_postgres
from tests.service.jobs.stores import Opened, empty

KINDS = ("memory", "sqlite", pytest.param("postgres", marks=pytest.mark.server))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        if server is None:
            pytest.skip("no binaries of PostgreSQL here: apt-get install postgresql")
        yield server


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
async def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an empty SQLite store. To make one takes more CPU than most tests of it."""
    path = tmp_path_factory.mktemp("migrated") / "jobs.sqlite3"
    await (await open_store(path, FakeClock().utc)).close()
    return path


@pytest.fixture(params=KINDS)
async def opened(
    request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path, migrated: Path
) -> AsyncIterator[Opened]:
    if request.param == "memory":
        memory = InMemoryJobStore(clock.utc)

        async def same() -> JobStore:
            return memory

        yield Opened(memory, clock, same)
        return

    sqlite = request.param == "sqlite"
    where = shutil.copy(migrated, tmp_path) if sqlite else request.getfixturevalue("postgres").url
    async with AsyncExitStack() as stack:

        async def open_one() -> JobStore:
            store = await open_store(where, clock.utc)
            stack.push_async_callback(store.close)
            return store

        store = await open_store(where, clock.utc)
        stack.push_async_callback(store.close)
        await empty(store)
        yield Opened(store, clock, open_one)


@pytest.fixture
def store(opened: Opened) -> JobStore:
    return opened.store


@pytest.fixture
async def epoch(store: JobStore) -> int:
    return await store.take_over()
