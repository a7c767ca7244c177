"""A store that cannot keep its promises says so, says what to do, and loses nothing."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import sqlite3
import tempfile
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Text, text
from sqlalchemy.exc import DBAPIError

from serve_app.errors import LeaseLost, StoreUnavailable
from serve_app.jobs.job import JobQuery, Status, Submitted
from serve_app.jobs.protocols import Clock
from serve_app.jobs.sql import SqlJobStore, open_store
from serve_app.jobs.sql.queue import next_due
from serve_app.jobs.sql.schema import chunks, metadata
from serve_app.testing import FakeClock
from tests.postgres import Postgres, running_postgres
from tests.service.jobs.stores import HOOK, announcement, empty, new_job
from tests.unit.jobs.examples import chunk

NOBODY = 65_534
SAID = "Zebulon has the flu."


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.sqlite3"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.server)])
def where(request: pytest.FixtureRequest, path: Path) -> str | Path:
    if request.param == "sqlite":
        return path
    server: Postgres = request.getfixturevalue("postgres")
    return server.url


@pytest.fixture
def up_to_date(where: str | Path, migrated: Path) -> str | Path:
    """A store whose schema is not what is tested."""
    return shutil.copy(migrated, where) if isinstance(where, Path) else where


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """As a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def as_nobody() -> Iterator[Callable[[], None]]:
    """Give up root's right to write everywhere until the test ends."""

    def give_up() -> None:
        if os.geteuid() == 0:
            os.seteuid(NOBODY)

    uid = os.geteuid()
    yield give_up
    os.seteuid(uid)


@pytest.fixture
def readable_folder() -> Iterator[Path]:
    """Not in pytest's folder, into which root alone can look."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


async def filled(path: Path, clock: Clock, count: int = 40) -> None:
    """Make a store of several pages."""
    store = await open_store(path, clock)
    await asyncio.gather(*(store.submit(new_job(f"job {n}")) for n in range(count)))
    await store.close()


async def submit_many(store: SqlJobStore, accepted: list[str]) -> None:
    for n in range(2000):
        accepted.append((await store.submit(new_job(f"job {n}"))).job.job_id)


def size_bytes(path: Path) -> int:
    return path.stat().st_size


def make_read_only(folder: Path) -> None:
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)


def scribble(path: Path) -> bytes:
    """Something that is no database."""
    data = b"no database, certainly" * 100
    path.write_bytes(data)
    return data


def spoil(path: Path) -> bytes:
    """Overwrite the middle of the file."""
    data = bytearray(path.read_bytes())
    data[4096:-4096] = os.urandom(len(data) - 8192)
    path.write_bytes(data)
    return bytes(data)


class TestMigrations:
    async def test_migrated_schema_is_the_one_that_the_code_uses(self, where: str | Path, clock: FakeClock) -> None:
        def differences(connection: Connection) -> list[object]:
            return list(compare_metadata(MigrationContext.configure(connection), metadata))

        store = await open_store(where, clock.utc)
        try:
            async with store._database.reading() as tx:
                found = await tx.run_sync(differences)
        finally:
            await store.close()

        assert found == []

    async def test_store_that_is_opened_again_has_what_it_had(self, where: str | Path, clock: FakeClock) -> None:
        first = await open_store(where, clock.utc)
        await empty(first)
        await first.submit(new_job("a"))
        await first.close()
        second = await open_store(where, clock.utc)
        job = await second.get("a")
        await second.close()

        assert job.status is Status.QUEUED

    async def test_many_that_start_at_once_migrate_once(self, where: str | Path, clock: FakeClock) -> None:
        stores = await asyncio.gather(*(open_store(where, clock.utc, busy_timeout_s=60) for _ in range(4)))
        for store in stores:
            await store.close()

    async def test_store_of_a_newer_version_is_refused_and_not_touched(
        self, where: str | Path, clock: FakeClock
    ) -> None:
        store = await open_store(where, clock.utc)

        async def set_version(version: str) -> None:
            async with store._database.writing() as tx:
                await tx.execute(text(f"UPDATE alembic_version SET version_num = '{version}'"))

        await set_version("9999")
        try:
            with pytest.raises(StoreUnavailable, match=r"newer version .* \(schema 9999\)"):
                await open_store(where, clock.utc)
        finally:
            await set_version("0004")
            await store.close()

    async def test_store_of_an_older_version_keeps_its_jobs_and_counts_from_now(
        self, where: str | Path, clock: FakeClock
    ) -> None:
        store = await open_store(where, clock.utc)
        await empty(store)
        await store.submit(new_job("runs"))
        await store.submit(new_job("waits"))
        await store.claim(await store.take_over(), lease_s=30)
        async with store._database.writing() as tx:
            await tx.run_sync(undo_since_0002)
            for column in ("failures", "waits", "begun", "shows_words"):
                await tx.execute(text(f"ALTER TABLE jobs DROP COLUMN {column}"))
            await tx.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        await store.close()

        store = await open_store(where, clock.utc)
        epoch = await store.take_over()
        claims = [await store.claim(epoch, lease_s=30) for _ in range(2)]
        jobs = [await store.get(job_id) for job_id in ("runs", "waits")]
        await store.close()

        assert [claim and (claim.lease.job_id, claim.failures) for claim in claims] == [("runs", 0), ("waits", 0)]
        assert [(job.attempts, job.shows_words) for job in jobs] == [(2, True), (1, True)]

    async def test_deliveries_of_an_older_version_are_kept_and_models_are_told_of_from_now_on(
        self, where: str | Path, clock: FakeClock
    ) -> None:
        store = await open_store(where, clock.utc)
        await empty(store)
        await store.submit(new_job("old", webhook_url=HOOK))
        await store.cancel("old")
        (before,) = await store.deliveries("old")
        async with store._database.writing() as tx:
            await tx.run_sync(undo_since_0002)
            await tx.execute(text("UPDATE alembic_version SET version_num = '0002'"))
        await store.close()

        store = await open_store(where, clock.utc)
        epoch = await store.take_over()
        (after,) = await store.deliveries("old")
        await store.submit(new_job("new", webhook_url=HOOK, tells_of_models=True))
        await store.announce(announcement(), epoch)
        due = await store.due_deliveries(epoch, limit=9)
        await store.purge("old")
        left = await store.due_deliveries(epoch, limit=9)
        await store.close()

        assert after == before
        assert {delivery.kind for delivery in due} == {"job.cancelled", "model_ready"}
        assert [delivery.kind for delivery in left] == ["model_ready"]


def undo_since_0002(connection: Connection) -> None:
    """The schema as it was then."""
    schema = Operations(MigrationContext.configure(connection))
    with schema.batch_alter_table("dispatch") as dispatch:
        for column in ("cluster", "former", "asked", "answers", "wanted", "vacant"):
            dispatch.drop_column(column)
    for table in ("addresses", "announced"):
        schema.drop_table(table)
    with schema.batch_alter_table("deliveries") as deliveries:
        deliveries.drop_column("body")
        deliveries.alter_column("job_id", existing_type=Text, nullable=False)


class TestDamagedRows:
    """A row that cannot be read is one job's misfortune, and no other's."""

    @pytest.fixture
    async def store(self, up_to_date: str | Path, clock: FakeClock) -> AsyncIterator[SqlJobStore]:
        store = await open_store(up_to_date, clock.utc)
        await empty(store)
        for job_id in ("damaged", "sound"):
            await store.submit(new_job(job_id, webhook_url="https://example.org/"))
        yield store
        await empty(store)
        await store.close()

    async def damage(self, store: SqlJobStore, column: str, value: str = "{") -> None:
        async with store._database.writing() as tx:
            await tx.execute(text(f"UPDATE jobs SET {column} = :v WHERE job_id = 'damaged'"), {"v": value})

    @pytest.mark.parametrize("column", ["options", "error", "finished", "waiting_for"])
    async def test_queued_job_is_failed_and_the_next_one_claimed(
        self, store: SqlJobStore, column: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        await self.damage(store, column)
        claim = await store.claim(await store.take_over(), lease_s=1)
        job = await store.get("damaged")
        kinds = [event.kind for event in await store.events("damaged", after_seq=0, limit=10)]

        assert claim is not None
        assert claim.lease.job_id == "sound"
        assert job.status is Status.FAILED
        assert job.completed_at is not None
        assert job.error is not None
        assert "damaged and cannot be read" in job.error.message
        assert kinds == ["queued", "failed"]
        assert len(await store.deliveries("damaged")) == 1
        assert "job damaged cannot be read" in caplog.text

    async def test_job_without_audio_is_failed_too(self, store: SqlJobStore) -> None:
        async with store._database.writing() as tx:
            await tx.execute(text("UPDATE jobs SET media_path = NULL WHERE job_id = 'damaged'"))
        claim = await store.claim(await store.take_over(), lease_s=1)

        assert claim is not None
        assert claim.lease.job_id == "sound"
        assert (await store.get("damaged")).status is Status.FAILED

    async def test_running_job_is_failed_when_its_lease_expires(self, store: SqlJobStore, clock: FakeClock) -> None:
        claim = await store.claim(await store.take_over(), lease_s=1)
        assert claim is not None
        await self.damage(store, "options")
        with pytest.raises(LeaseLost):
            await store.extend(claim.lease, lease_s=1)
        clock.advance(2)

        assert [lease.token for lease in await store.requeue_expired()] == [claim.lease.token]
        assert (await store.get("damaged")).completed_at is not None

    async def test_damaged_checkpoint_fails_the_job_and_leaves_the_others(self, store: SqlJobStore) -> None:
        epoch = await store.take_over()
        claim = await store.claim(epoch, lease_s=1)
        assert claim is not None
        for index in (0, 1):
            await store.record(claim.lease, chunk(index))
        await store.release(claim.lease)
        async with store._database.writing() as tx:
            await tx.execute(text("UPDATE chunks SET body = '[{' WHERE chunk_index = 0"))
        claim = await store.claim(epoch, lease_s=1)

        assert claim is not None
        assert claim.lease.job_id == "sound"
        assert [chunk.index for chunk in await store.chunks("damaged")] == [1]
        assert (await store.get("damaged")).status is Status.FAILED

    async def test_job_that_was_not_yet_claimed_keeps_nobody_from_the_list(self, store: SqlJobStore) -> None:
        await self.damage(store, "options")
        page = await store.page(JobQuery())
        await store.purge("damaged")

        assert [(job.job_id, job.status) for job in page.jobs] == [("sound", Status.QUEUED), ("damaged", Status.FAILED)]
        assert [job.job_id for job in (await store.page(JobQuery())).jobs] == ["sound"]


class TestSecrets:
    async def test_text_that_could_not_be_written_is_not_in_the_traceback(
        self, up_to_date: str | Path, clock: FakeClock
    ) -> None:
        store = await open_store(up_to_date, clock.utc)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(store.close)
            with pytest.raises(DBAPIError) as refused:
                async with store._database.writing() as tx:
                    await tx.execute(chunks.insert().values(job_id="none", channel=0, chunk_index=0, body=SAID))

        assert SAID not in "".join(traceback.format_exception(refused.value))


class TestSqliteFaults:
    async def test_full_disk_refuses_and_loses_nothing(self, path: Path, clock: FakeClock) -> None:
        store = await open_store(path, clock.utc)
        accepted: list[str] = []
        with largest_file(size_bytes(path) + 400_000), pytest.raises(StoreUnavailable, match="disk"):
            await submit_many(store, accepted)
        page = await store.page(JobQuery(limit=3000))
        await store.submit(new_job("later"))
        await store.close()

        assert [job.job_id for job in reversed(page.jobs)] == accepted != []

    async def test_full_database_says_that_the_disk_is_full(self, path: Path, clock: FakeClock) -> None:
        store = await open_store(path, clock.utc)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(store.close)
            async with store._database.writing() as tx:
                await tx.execute(text("PRAGMA max_page_count = 1"))
            with pytest.raises(StoreUnavailable, match="is full: free some space"):
                await submit_many(store, [])

    async def test_read_only_folder_is_refused(
        self, readable_folder: Path, clock: FakeClock, as_nobody: Callable[[], None]
    ) -> None:
        make_read_only(readable_folder)
        as_nobody()

        with pytest.raises(StoreUnavailable, match="the right to write"):
            await open_store(readable_folder / "jobs.sqlite3", clock.utc)

    async def test_read_only_file_is_refused(
        self, readable_folder: Path, clock: FakeClock, as_nobody: Callable[[], None]
    ) -> None:
        path = readable_folder / "jobs.sqlite3"
        await filled(path, clock.utc, count=1)
        make_read_only(readable_folder)
        as_nobody()

        with pytest.raises(StoreUnavailable, match="the right to write"):
            await open_store(path, clock.utc)

    async def test_lock_of_another_process_is_not_waited_for_without_end(self, path: Path, clock: FakeClock) -> None:
        store = await open_store(path, clock.utc, busy_timeout_s=0.05)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")

            with pytest.raises(StoreUnavailable, match="locked"):
                await store.submit(new_job("a"))
            assert (await store.page(JobQuery())).jobs == ()  # reading goes on
            other.execute("ROLLBACK")
        await store.submit(new_job("a"))
        await store.close()

    async def test_jobs_are_nobody_elses_to_read(self, path: Path, clock: FakeClock) -> None:
        store = await open_store(path, clock.utc)
        modes = {file.stat().st_mode & 0o777 for file in path.parent.glob("jobs.sqlite3*")}
        await store.close()

        assert modes == {0o600}

    async def test_every_write_waits_for_the_disk(self, path: Path, clock: FakeClock) -> None:
        store = await open_store(path, clock.utc)
        async with store._database.writing() as tx:
            found = [
                await tx.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
        await store.close()

        assert found == ["wal", 2, 1]


class TestDamage:
    async def test_damaged_store_is_set_aside_and_none_is_begun_in_its_place(
        self, path: Path, clock: FakeClock
    ) -> None:
        await filled(path, clock.utc)
        damaged = spoil(path)
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=r"set aside as .* put a backup at .*recover") as refused:
                await open_store(path, clock.utc)
        aside, *_side_files = sorted(path.parent.glob("jobs.sqlite3.corrupt-*"))

        assert str(aside) in refused.value.message
        assert aside.read_bytes() == damaged
        assert path not in set(path.parent.glob("*"))

    async def test_file_that_is_no_database_is_set_aside(self, path: Path, clock: FakeClock) -> None:
        data = scribble(path)
        with pytest.raises(StoreUnavailable, match="set aside"):
            await open_store(path, clock.utc)

        assert next(path.parent.glob("*.corrupt-*")).read_bytes() == data

    async def test_journal_is_set_aside_with_its_file(self, path: Path, clock: FakeClock) -> None:
        scribble(path)
        journal = scribble(Path(f"{path}-wal"))
        with pytest.raises(StoreUnavailable):
            await open_store(path, clock.utc)
        (aside,) = path.parent.glob("*-wal")

        assert ".corrupt-" in aside.name
        assert aside.read_bytes() == journal

    async def test_restored_backup_is_opened(self, path: Path, clock: FakeClock) -> None:
        await filled(path, clock.utc)
        backup = shutil.copy(path, f"{path}.backup")
        spoil(path)
        with pytest.raises(StoreUnavailable):
            await open_store(path, clock.utc)
        os.rename(backup, path)
        store = await open_store(path, clock.utc)
        page = await store.page(JobQuery(limit=100))
        await store.close()

        assert len(page.jobs) == 40

    async def test_empty_store_is_begun_once_the_damaged_one_was_taken_away(self, path: Path, clock: FakeClock) -> None:
        scribble(path)
        with pytest.raises(StoreUnavailable):
            await open_store(path, clock.utc)
        for aside in path.parent.glob("*.corrupt-*"):
            aside.unlink()
        store = await open_store(path, clock.utc)
        await store.close()

    async def test_damage_found_at_work_ends_all_work(self, path: Path, clock: FakeClock) -> None:
        await filled(path, clock.utc)
        store = await open_store(path, clock.utc)
        epoch = await store.take_over()
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        spoil(path)
        with suppress(StoreUnavailable):
            await store.page(JobQuery(limit=1000))

        for verb in (
            store.submit(new_job("new")),
            store.get("job 1"),
            store.claim(epoch, lease_s=1),
            store.take_over(),
        ):
            with pytest.raises(StoreUnavailable, match="damaged, and nothing is accepted any more"):
                await verb
        await store.close()


@pytest.mark.server
class TestPostgresFaults:
    async def test_what_cannot_be_written_is_no_outage(self, postgres: Postgres, clock: FakeClock) -> None:
        store = await open_store(postgres.url, clock.utc)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(store.close)
            await empty(store)
            _, wrong, right = await asyncio.gather(
                *(store.submit(new_job(job_id)) for job_id in ("a", "\0", "b")), return_exceptions=True
            )

        assert isinstance(wrong, DBAPIError)
        assert isinstance(right, Submitted)

    async def test_server_that_is_away_is_named(self, clock: FakeClock, tmp_path: Path) -> None:
        with pytest.raises(StoreUnavailable, match="is away: see that it runs"):
            await open_store(f"postgresql://user:secret@/jobs?host={tmp_path}", clock.utc)

    async def test_refusal_names_no_password(self, postgres: Postgres, clock: FakeClock) -> None:
        url = postgres.url.replace("tester@/postgres", "nobody:secret@/nothing")
        with pytest.raises(StoreUnavailable, match="refuses the service") as refused:
            await open_store(url, clock.utc)

        assert "secret" not in refused.value.message

    async def test_server_that_was_away_loses_nothing(self, clock: FakeClock) -> None:
        with running_postgres(durable=True) as server:
            if server is None:
                pytest.skip("no binaries of PostgreSQL here")
            store = await open_store(server.url, clock.utc)
            await store.submit(new_job("a"))
            server.stop()
            with pytest.raises(StoreUnavailable, match="is away"):
                await store.submit(new_job("b"))
            server.start()
            await store.submit(new_job("c"))
            page = await store.page(JobQuery())
            await store.close()

        assert [job.job_id for job in page.jobs] == ["c", "a"]


class TestLongQueue:
    """Plans, not times: what grows with the queue would be seen here first."""

    @pytest.fixture
    async def long_queue(self, up_to_date: str | Path, clock: FakeClock) -> SqlJobStore:
        store = await open_store(up_to_date, clock.utc)
        await empty(store)
        await store.submit(new_job("first"))
        names = "owner, status, rank, size_bytes, options, created_at, attempts, progress, forgotten, segments, events"
        series = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) "
        async with store._database.writing() as tx:
            copies = text(
                f"INSERT INTO jobs (job_id, turn, {names}) {series if tx.dialect.name == 'postgresql' else ''}"
                f"{'' if tx.dialect.name == 'postgresql' else series}SELECT 'copy ' || i, i, {names} FROM jobs, n"
            )
            await tx.execute(copies)
            await tx.execute(text("ANALYZE"))
        return store

    async def test_claim_reads_the_queue_in_the_order_of_its_index(
        self, long_queue: SqlJobStore, clock: FakeClock
    ) -> None:
        async with long_queue._database.reading() as tx:
            compiled = next_due(clock.utc()).compile(tx.engine, compile_kwargs={"literal_binds": True})
            explain = "EXPLAIN" if tx.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
            plan = " ".join(str(row) for row in await tx.execute(text(f"{explain} {compiled}")))
        claimed = await long_queue.claim(await long_queue.take_over(), lease_s=1)
        stats = await long_queue.stats()
        await long_queue.close()

        assert "ix_jobs_queue" in plan
        assert not {"TEMP B-TREE", "Sort"} & set(plan.split())
        assert "TEMP B-TREE" not in plan
        assert claimed
        assert (stats.queued, stats.running) == (10_000, 1)
