"""Replicas on Ray nodes that share no directory, and nodes that die with all that lies on them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse

from benchmarks.chaos.evidence import same_speech
from tests.cluster.job_client import UNSAMPLED
from tests.cluster.nodes import BACK, FRONT, GPU, PATIENCE_S, Nodes, running_nodes, why_not
from tests.cluster.recordings import long_recording
from tests.cluster.running import poll
from tests.cluster.test_transcription import JFK
from tests.cluster.webhook_receiver import receiving

pytestmark = pytest.mark.slow

TUS = {"Tus-Resumable": "1.0.0"}
LARGE = 1024 * 1024  # `limits.inline_upload_bytes`: what has more does not travel within calls


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nodes")


@pytest.fixture(scope="module")
def nodes(folder: Path) -> Iterator[Nodes]:
    if reason := why_not():
        pytest.skip(reason)
    with running_nodes(folder / "keys") as started:
        if started is None:
            pytest.skip("there are no binaries of PostgreSQL")
        yield started


@pytest.fixture(scope="module")
def recording(folder: Path) -> Path:
    """So long that a death falls into the middle of it."""
    return long_recording(folder / "long.wav", repeats=6)


@pytest.fixture(scope="module")
def undisturbed(nodes: Nodes, recording: Path) -> list[dict[str, Any]]:
    """The segments of the recording."""
    with nodes.jobs() as jobs:
        job = jobs.ended(jobs.submit(recording))
    assert job["status"] == "done", job["error"]
    return list(job["segments"])


def text_of(segments: list[dict[str, Any]]) -> str:
    return "".join(segment["text"] for segment in segments).strip()


def transcribe(nodes: Nodes, path: Path) -> httpx.Response:
    with nodes.http() as http:
        return http.post(
            "/v1/audio/transcriptions",
            files={"file": (path.name, path.read_bytes())},
            data={"model": "whisper-1"} | UNSAMPLED,
        )


def streamed(nodes: Nodes, path: Path, begun: threading.Event) -> list[dict[str, Any]]:
    """The events of a transcription; tells when the first has come."""
    events = []
    request = {
        "files": {"file": (path.name, path.read_bytes())},
        "data": {"model": "whisper-1", "stream": "true"} | UNSAMPLED,
    }
    with nodes.http() as http, connect_sse(http, "POST", "/v1/audio/transcriptions", **request) as stream:
        for event in stream.iter_sse():
            events.append(json.loads(event.data))
            begun.set()
    return events


def begin_upload(http: httpx.Client, length: int, first: bytes) -> str:
    """The id of a resumable upload of which the first part has come."""
    created = http.post("/uploads", headers=TUS | {"Upload-Length": str(length)})
    location = created.raise_for_status().headers["location"]
    upload_id = str(location).rpartition("/")[2]
    send_part(http, upload_id, 0, first)
    return upload_id


def send_part(http: httpx.Client, upload_id: str, offset: int, part: bytes) -> None:
    headers = TUS | {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
    http.patch(f"/uploads/{upload_id}", content=part, headers=headers).raise_for_status()


def test_requests_and_jobs_cross_nodes_without_a_shared_directory(
    nodes: Nodes, recording: Path, undisturbed: list[dict[str, Any]]
) -> None:
    places = nodes.cluster.running("node_id")
    answer = transcribe(nodes, recording)
    poll(lambda: None if nodes.audio() else True, deadline_s=PATIENCE_S)  # what nobody needs any more is deleted

    assert recording.stat().st_size > LARGE
    assert answer.status_code == 200, answer.text
    assert answer.json()["text"] == text_of(undisturbed)
    assert len({*places["Gateway"], *places["Pipeline"], *places["Recognizer"]}) == 3
    assert not nodes.files(GPU).exists()
    assert not (nodes.files(FRONT) / "uploads").exists()


def test_upload_in_parts_becomes_a_job_on_another_node(
    nodes: Nodes, recording: Path, undisturbed: list[dict[str, Any]]
) -> None:
    sound = recording.read_bytes()
    with nodes.http() as http, nodes.jobs() as jobs:
        upload_id = begin_upload(http, len(sound), sound[:LARGE])
        send_part(http, upload_id, LARGE, sound[LARGE:])
        submitted = http.post("/jobs", json={"upload_id": upload_id, "temperature": [0.0]}).raise_for_status()
        in_bucket = nodes.audio()
        job = jobs.ended(submitted.json()["job_id"])

    assert len(in_bucket) == 1
    assert job["status"] == "done", job["error"]
    assert same_speech(job["segments"], undisturbed)


def test_death_of_the_recognizers_node_costs_neither_a_job_nor_a_request(
    nodes: Nodes, recording: Path, undisturbed: list[dict[str, Any]]
) -> None:
    begun = threading.Event()
    with nodes.jobs() as jobs, ThreadPoolExecutor() as threads:
        job_id = jobs.submit(recording)
        stream = jobs.follow(job_id)
        events = [next(stream)]
        while events[-1]["type"] != "segment":
            events.append(next(stream))
        in_the_middle = threads.submit(streamed, nodes, recording, begun)
        assert begun.wait(PATIENCE_S)
        nodes.of[GPU].die()
        afterwards = threads.submit(transcribe, nodes, JFK)
        nodes.join(GPU)
        events += stream
        job, streamed_events, answer = jobs.ended(job_id), in_the_middle.result(), afterwards.result()

    assert job["status"] == "done", job["error"]
    assert same_speech(job["segments"], undisturbed)
    assert [event["index"] for event in events if event["type"] == "segment"] == list(range(len(job["segments"])))
    assert streamed_events[-1].get("text") == text_of(undisturbed), streamed_events[-1]
    assert answer.status_code == 200, answer.text
    assert not nodes.files(GPU).exists()


def test_death_of_all_other_nodes_costs_no_accepted_job(
    nodes: Nodes, recording: Path, undisturbed: list[dict[str, Any]]
) -> None:
    with nodes.http() as http, nodes.jobs() as jobs, receiving() as receiver:
        upload_id = begin_upload(http, 2 * LARGE, bytes(LARGE))
        accepted = [jobs.submit(path, webhook_url=receiver.url) for path in (recording, JFK, JFK)]
        stream = jobs.follow(accepted[0])
        while next(stream)["type"] != "segment":
            pass
        nodes.of[FRONT].die()
        nodes.of[BACK].die()
        stream.close()
        lost = nodes.files(FRONT)
        nodes.join(FRONT, BACK)
        ended = [jobs.ended(job_id) for job_id in accepted]
        listed = jobs.ids()
        poll(lambda: True if len(receiver.came) >= len(accepted) else None, deadline_s=PATIENCE_S)
        poll(lambda: None if nodes.audio() else True, deadline_s=PATIENCE_S)
        upload = http.head(f"/uploads/{upload_id}", headers=TUS)

    assert (lost / "uploads-tus" / f"{upload_id}.part").exists()
    assert upload.status_code == 404, "there is a shared directory"
    assert [(job["status"], job["attempts"]) for job in ended] == [("done", 2), ("done", 1), ("done", 1)]
    assert same_speech(ended[0]["segments"], undisturbed)
    assert listed[:3] == accepted[::-1]
    assert sorted(came.body["id"] for came in receiver.came) == sorted(accepted), "each came once"
