"""What is forgotten is not to be read in the files of SQLite either."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from serve_app.jobs.job import NewJob
from serve_app.jobs.sql import open_store
from serve_app.testing import FakeClock
from tests.unit.jobs.examples import MEDIA, OPTIONS, chunk

SECRET = " The patient is called Zebulon Quartermain."
WITH_WORDS = replace(OPTIONS, decoding=replace(OPTIONS.decoding, prompt=SECRET, hotwords=SECRET))


@pytest.mark.parametrize("verb", ["forget_text", "purge"])
async def test_text_that_was_forgotten_or_purged_is_in_no_file(tmp_path: Path, verb: str) -> None:
    def found() -> int:
        return sum(path.read_bytes().count(b"Zebulon") for path in tmp_path.iterdir())

    store = await open_store(tmp_path / "jobs.sqlite3", FakeClock().utc)
    epoch = await store.take_over()
    for number in range(2):
        await store.submit(NewJob(str(number), "", MEDIA, WITH_WORDS))
        claimed = await store.claim(epoch, lease_s=60)
        assert claimed is not None
        for index in range(20):
            await store.record(claimed.lease, chunk(index, SECRET * 4))
        await store.cancel(str(number))
    before = found()
    for number in range(2):
        await getattr(store, verb)(str(number))
    after = found()
    await store.close()

    assert (before > 0, after) == (True, 0)


async def test_words_that_were_given_for_a_job_are_forgotten_with_its_text(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "jobs.sqlite3", FakeClock().utc)
    await store.submit(NewJob("a", "", MEDIA, WITH_WORDS))
    await store.cancel("a")
    await store.forget_text("a")
    job = await store.get("a")
    await store.close()

    assert (job.forgotten, job.options) == (True, OPTIONS)
