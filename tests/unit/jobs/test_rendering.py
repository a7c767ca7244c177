"""The job object: its keys, in their order, whatever state the job is in."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from serve_app.jobs.job import Job, JobDetails, JobError, Priority, Status, WaitingFor
from serve_app.jobs.rendering import job_object, segment_object, timestamp, transcript_of
from serve_app.testing import recognized, segment
from serve_app.transcript.types import (
    Channels,
    ChunkTranscribed,
    DecodingOptions,
    TranscriptionFinished,
    TranscriptionOptions,
    TranscriptWarning,
    WarningCode,
)

CREATED_AT = datetime(2026, 5, 5, 21, 0, tzinfo=UTC)
OPTIONS = TranscriptionOptions(DecodingOptions("tiny.en", word_times=True))
SYSTEM_B_KEYS = [
    "id",
    "status",
    "language",
    "task",
    "duration_secs",
    "progress",
    "segments",
    "error",
    "created_at",
    "completed_at",
]


def job(**changes: Any) -> Job:
    queued = Job("550e8400", "ada", Status.QUEUED, OPTIONS, Priority.INTERACTIVE, CREATED_AT)
    return dataclasses.replace(queued, **changes)


def done(**changes: Any) -> Job:
    end = TranscriptionFinished(duration_s=142.3004, language="en", language_probability=0.9)
    times = {"started_at": CREATED_AT, "completed_at": CREATED_AT + timedelta(seconds=133)}
    return job(**{"status": Status.DONE, "progress": 100, "end": end, "attempts": 1, **times, **changes})


def chunk(index: int, start: float, text: str, channel: int = 0) -> ChunkTranscribed:
    heard = recognized(text, 2.0, OPTIONS.decoding)
    return ChunkTranscribed(
        index, channel, start, start + 2.0, text, (segment(heard, start, 2.0, channel),) if text else (), heard
    )


def test_done_job_has_the_keys_of_the_contract_in_their_order() -> None:
    shown = job_object(JobDetails(done(), (chunk(0, 0.0, " Hello, world."),)))

    assert list(shown)[: len(SYSTEM_B_KEYS)] == SYSTEM_B_KEYS
    assert {key: shown[key] for key in SYSTEM_B_KEYS if key != "segments"} == {
        "id": "550e8400",
        "status": "done",
        "language": "en",
        "task": "transcribe",
        "duration_secs": 142.3,
        "progress": 100,
        "error": None,
        "created_at": "2026-05-05T21:00:00Z",
        "completed_at": "2026-05-05T21:02:13Z",
    }
    assert shown["segments"][0]["text"] == " Hello, world."
    assert shown["provenance"]["engine"]["model"] == "tiny.en"


def test_object_is_plain_json_in_every_state() -> None:
    jobs = [job(), job(status=Status.RUNNING, waiting_for=WaitingFor.GPU, eta_s=1.23456), done()]

    assert [json.loads(json.dumps(job_object(JobDetails(j)), allow_nan=False))["status"] for j in jobs] == [
        "queued",
        "running",
        "done",
    ]


def test_segments_are_sorted_by_start_and_counted_from_zero() -> None:
    shown = job_object(JobDetails(done(), (chunk(0, 4.0, " Right.", channel=1), chunk(0, 1.0, " Left."))))

    assert [(s["index"], s["start"], s["text"], s["channel"]) for s in shown["segments"]] == [
        (0, 1.0, " Left.", 0),
        (1, 4.0, " Right.", 1),
    ]


def test_words_are_always_present() -> None:
    heard = recognized(" Not aligned.", 2.0, DecodingOptions("tiny.en"))

    shown = segment_object(0, segment(heard, 0.0, 2.0), shows_words=True)

    assert list(shown)[:5] == ["index", "start", "end", "text", "words"]
    assert shown["words"] == []


def test_words_are_shown_only_if_the_client_asked_for_them() -> None:
    details = JobDetails(done(), (chunk(0, 0.0, " Hi there."),))
    asked = JobDetails(done(shows_words=True), details.chunks)

    assert job_object(details)["segments"][0]["words"] == []
    assert job_object(asked)["segments"][0]["words"][1] == {
        "word": "there.",
        "start": 1.0,
        "end": 2.0,
        "probability": 0.9,
    }
    assert transcript_of(details).segments[0].words == transcript_of(asked).segments[0].words != ()


def test_running_job_shows_what_there_is() -> None:
    shown = job_object(JobDetails(job(status=Status.RUNNING, progress=40, duration_s=9.0), (chunk(0, 0.0, " One."),)))

    assert (shown["language"], shown["duration_secs"], shown["completed_at"]) == ("en", 9.0, None)
    assert [s["text"] for s in shown["segments"]] == [" One."]


def test_job_of_which_nothing_is_known_yet_says_null() -> None:
    shown = job_object(JobDetails(job(queue_position=3, eta_s=12.0)))

    assert (shown["language"], shown["duration_secs"], shown["provenance"]) == (None, None, None)
    assert (shown["segments"], shown["warnings"], shown["queue_position"], shown["eta_secs"]) == ([], [], 3, 12.0)


def test_error_is_that_of_a_failed_job_only() -> None:
    error = JobError("invalid_audio", "The file is no audio.")
    failed, waiting = job(status=Status.FAILED, error=error), job(error=error)

    assert job_object(JobDetails(failed))["error"] == {"code": "invalid_audio", "message": "The file is no audio."}
    assert job_object(JobDetails(failed))["last_error"] is None
    assert job_object(JobDetails(waiting))["error"] is None
    assert job_object(JobDetails(waiting))["last_error"]["code"] == "invalid_audio"
    assert job_object(JobDetails(done(error=error)))["error"] is None


def test_job_in_a_list_comes_without_its_segments() -> None:
    listed = job_object(JobDetails(done()), with_segments=False)

    assert set(job_object(JobDetails(done()))) - set(listed) == {"segments", "provenance"}
    assert list(listed)[:6] == SYSTEM_B_KEYS[:6]


def test_warnings_are_shown() -> None:
    end = TranscriptionFinished(0.5, "", 0.0, (TranscriptWarning(WarningCode.NO_SPEECH, "Nothing was said."),))

    assert job_object(JobDetails(done(end=end)))["warnings"] == [{"code": "no_speech", "message": "Nothing was said."}]
    assert job_object(JobDetails(done(end=end)))["language"] is None


def test_transcript_of_a_running_job_is_what_was_said_so_far() -> None:
    options = dataclasses.replace(OPTIONS, channels=Channels.SEPARATE)
    chunks = (chunk(0, 0.0, " One."), chunk(0, 0.5, " Two.", channel=1))
    transcript = transcript_of(JobDetails(job(status=Status.RUNNING, options=options), chunks))

    assert (transcript.text, transcript.duration_s, transcript.channels) == ("One. Two.", 2.5, 2)
    assert transcript_of(JobDetails(job())).text == ""


@pytest.mark.parametrize(
    "at", [CREATED_AT.replace(microsecond=999_999), CREATED_AT.astimezone(timezone(timedelta(hours=-7)))]
)
def test_timestamps_are_utc_to_the_second(at: datetime) -> None:
    assert timestamp(at) == "2026-05-05T21:00:00Z"
