"""`rayscribe submit` and `rayscribe jobs` over a real server."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from serve_app.testing import SENTENCES, silent_wav
from serve_app.transcript.types import Task
from tests.cluster.running import poll
from tests.service.cli.conftest import KEY, Talk
from tests.service.cli.cutting import CuttingProxy
from tests.service.cli.house import LIMIT_BYTES, ServedHouse
from tests.service.cli.running import rayscribe

TEXT = "".join(SENTENCES).strip() + "\n"


@contextmanager
def held(house: ServedHouse) -> Iterator[None]:
    """Transcriptions stop half-way while the block runs."""
    house.gate.close()
    try:
        yield
    finally:
        house.gate.open()


def submitted(talk: Talk, *arguments: object) -> str:
    ended = talk.rayscribe("submit", talk.file, *arguments)
    assert ended.code == 0, ended.err
    return str(uuid.UUID(ended.out.strip()))


def half_way(talk: Talk, job_id: str) -> None:
    """Wait until the job has its first segment."""
    poll(lambda: talk.rayscribe("jobs", "get", job_id, "--json").objects[0]["segments"] or None, deadline_s=20)


def test_submit_prints_the_id_and_get_the_result(talk: Talk) -> None:
    job_id = submitted(talk, "--wait")

    assert talk.rayscribe("jobs", "get", job_id, "--format", "txt").out == TEXT
    assert talk.rayscribe("jobs", "get", job_id, "--format", "vtt").out.startswith("WEBVTT\n\n")
    assert "status: done" in talk.rayscribe("jobs", "get", job_id).out


def test_waited_for_with_json_gives_the_whole_job(talk: Talk) -> None:
    (job,) = talk.rayscribe("submit", talk.file, "--wait", "--json", "--language", "en").objects

    assert (job["status"], job["language"], job["progress"]) == ("done", "en", 100)
    assert [segment["text"] for segment in job["segments"]] == list(SENTENCES)


def test_wishes_of_a_job_reach_the_transcriber(talk: Talk, house: ServedHouse) -> None:
    submitted(talk, "--wait", "--prompt", "Minutes.", "--priority", "batch", "--temperature", 0.4)

    options = house.transcriber.calls[-1][1].decoding
    assert (options.task, options.prompt, options.temperatures) == (Task.TRANSCRIBE, "Minutes.", (0.4,))


def test_address_is_fetched_by_the_service(talk: Talk) -> None:
    (job,) = talk.rayscribe("submit", "https://example.org/talk.mp3", "--wait", "--json").objects

    assert job["status"] == "done"


def test_job_that_fails_is_exit_code_1_with_the_reason(talk: Talk) -> None:
    talk.file.write_bytes(b"no audio")
    ended = talk.rayscribe("submit", talk.file, "--wait")

    assert ended.code == 1
    assert ended.err == "rayscribe: The file is no audio that can be decoded.\n"
    assert talk.rayscribe("jobs", "watch", ended.out.strip()).code == 1


def test_address_that_is_not_allowed_is_refused_at_once(talk: Talk) -> None:
    ended = talk.rayscribe("submit", "http://intranet/talk.mp3")

    assert (ended.code, ended.out, ended.err) == (1, "", "rayscribe: This address is not allowed.\n")


def test_file_above_the_limit_of_a_request_goes_up_in_parts(talk: Talk) -> None:
    talk.file.write_bytes(silent_wav(30.0))
    assert talk.file.stat().st_size > LIMIT_BYTES
    (job,) = talk.rayscribe("submit", talk.file, "--wait", "--json").objects

    assert (job["status"], job["duration_secs"], job["size_bytes"]) == ("done", 30.0, talk.file.stat().st_size)


def test_large_file_is_transcribed_by_way_of_a_job_that_leaves_nothing(talk: Talk, house: ServedHouse) -> None:
    talk.file.write_bytes(silent_wav(30.0))
    before = talk.rayscribe("jobs", "list", "--json").objects
    ended = talk.rayscribe("transcribe", talk.file)

    assert ended.code == 0, ended.err
    assert (talk.folder / "talk.txt").read_text() == TEXT
    assert talk.rayscribe("jobs", "list", "--json").objects == before


def test_several_formats_come_from_one_hearing(talk: Talk, house: ServedHouse) -> None:
    before = len(house.transcriber.calls)
    ended = talk.rayscribe("transcribe", talk.file, "-f", "txt", "-f", "srt", "-f", "json", "--word-times")

    assert ended.code == 0, ended.err
    assert len(house.transcriber.calls) == before + 1
    assert sorted(p.suffix for p in talk.folder.iterdir()) == [".json", ".srt", ".txt", ".wav"]
    assert '"words":[{' in (talk.folder / "talk.json").read_text()


def test_same_idempotency_key_is_the_same_job(talk: Talk) -> None:
    key = uuid.uuid4().hex

    assert submitted(talk, "--idempotency-key", key) == submitted(talk, "--idempotency-key", key)
    refused = talk.rayscribe("submit", talk.file, "--idempotency-key", key, "--prompt", "Other.")
    assert refused.code == 1


def test_watch_prints_what_was_said(talk: Talk) -> None:
    ended = talk.rayscribe("jobs", "watch", submitted(talk))

    assert ended.code == 0
    assert ended.out.splitlines()[0] == f"[0:00:00.0 → 0:00:00.7] {SENTENCES[0].strip()}"


def test_watch_with_json_prints_each_event_once(talk: Talk) -> None:
    events = talk.rayscribe("jobs", "watch", submitted(talk), "--json").objects

    assert events[-1]["event"] == "done"
    assert [int(event["id"]) for event in events] == list(range(1, len(events) + 1))


def test_watch_goes_on_through_a_proxy_that_keeps_cutting(
    talk: Talk, house: ServedHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.cli.remote.FIRST_WAIT_S", 0.1)
    proxy = CuttingProxy(talk.url, every_s=0.5)

    def let_go_when_cut() -> None:
        try:
            poll(lambda: proxy.cut >= 4 or None, deadline_s=60, every_s=0.05)
        finally:
            house.gate.open()

    with held(house), proxy.running() as url:
        job_id = submitted(talk)
        threading.Thread(target=let_go_when_cut).start()
        ended = rayscribe("jobs", "watch", job_id, "--json", "--url", url, "--api-key", KEY)

    assert proxy.cut >= 4
    assert ended.code == 0, ended.err
    assert [int(event["id"]) for event in ended.objects] == list(range(1, len(ended.objects) + 1))
    assert [e["data"]["text"] for e in ended.objects if e["event"] == "segment"] == list(SENTENCES)


def test_cancelled_job_keeps_what_was_done_and_its_watcher_is_told(talk: Talk, house: ServedHouse) -> None:
    with held(house):
        job_id = submitted(talk)
        half_way(talk, job_id)
        cancelled = talk.rayscribe("jobs", "cancel", job_id)
    watched = talk.rayscribe("jobs", "watch", job_id)

    assert cancelled.out == f"{job_id} cancelled\n"
    assert (watched.code, watched.err) == (1, f"rayscribe: job {job_id} is cancelled\n")
    assert SENTENCES[0].strip() in talk.rayscribe("jobs", "get", job_id).out


def test_job_that_cannot_be_cancelled_stops_no_other(talk: Talk) -> None:
    job_id, unknown = submitted(talk, "--wait"), str(uuid.uuid4())
    ended = talk.rayscribe("jobs", "cancel", unknown, job_id)

    assert (ended.code, ended.out) == (1, f"{job_id} done\n")
    assert ended.err == f"rayscribe: {unknown}: There is no job {unknown}.\n"


def test_purged_job_is_gone(talk: Talk) -> None:
    job_id = submitted(talk, "--wait")
    ended = talk.rayscribe("jobs", "cancel", job_id, "--purge", "--json")

    assert ended.objects == [{"id": job_id, "status": "purged"}]
    gone = talk.rayscribe("jobs", "get", job_id)
    assert (gone.code, gone.err) == (1, f"rayscribe: There is no job {job_id}.\n")


def test_list_is_newest_first_over_pages(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.cli.jobs.PAGE", 2)
    ids = [submitted(talk, "--wait") for _ in range(5)]
    listed = talk.rayscribe("jobs", "list", "--limit", 5, "--status", "done", "--json").objects
    table = talk.rayscribe("jobs", "list").out.splitlines()

    assert [job["id"] for job in listed] == ids[::-1]
    assert all(f"{job['id']} done" in shown for job, shown in zip(listed, table[1:], strict=False))
    assert "created (UTC)" in table[0]
    assert listed[0]["created_at"][11:19] in table[1]


def test_missing_file_is_a_sentence(talk: Talk) -> None:
    ended = talk.rayscribe("submit", talk.folder / "none.wav")

    assert (ended.code, ended.err) == (1, f"rayscribe: there is no file {talk.folder / 'none.wav'}\n")


@pytest.mark.parametrize(
    ("source", "says"),
    [(".", "is a directory: submit its files one by one"), ("ftp://example.org/talk.mp3", "cannot be fetched")],
)
def test_what_is_no_file_is_told_from_one_that_is_missing(talk: Talk, source: str, says: str) -> None:
    ended = talk.rayscribe("submit", source)

    assert ended.code == 1
    assert ended.err.startswith(f"rayscribe: {source} {says}")
