"""Jobs from submit to result, as clients see them."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.errors import CoordinatorUnavailable, StoreUnavailable
from serve_app.jobs.job import Delivery, NewJob, RemoteMedia, Submitted
from serve_app.jobs.service import JobService
from serve_app.testing import SENTENCES
from serve_app.transcript.types import Task
from tests.service.api.conftest import LONG_WAV, WAV, client_of
from tests.service.api.job_house import KEYS, House, submitted
from tests.service.api.test_errors import error_of

FILES = {"audio": ("talk.wav", WAV)}
NOBODY = str(uuid.UUID(int=0))
TEXT = "".join(SENTENCES).strip()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
async def http(house: House) -> AsyncIterator[httpx.AsyncClient]:
    async with house.client() as client:
        yield client


async def done(house: House, client: httpx.AsyncClient, **fields: str) -> str:
    """A job that has ended."""
    job_id = await submitted(client, **fields)
    async with house.dispatching():
        await client.get(f"/jobs/{job_id}/stream")
    return job_id


class Failing(JobService):
    """Jobs whose submit fails; `after` the store has the job, or before."""

    def __init__(self, house: House, error: Exception, *, after: bool = False) -> None:
        self.__dict__ |= house.service.__dict__
        self._error = error
        self._after = after

    async def submit(self, new: NewJob) -> Submitted:
        if self._after:
            await super().submit(new)
        raise self._error


@pytest.mark.parametrize("field", ["audio", "file"])
async def test_submitted_file_is_kept_and_answered_with_its_job(
    house: House, http: httpx.AsyncClient, field: str
) -> None:
    response = await http.post("/jobs", files={field: ("talk.wav", WAV)})

    job = response.json()
    assert response.status_code == 202
    assert list(job)[:3] == ["job_id", "id", "status"]
    assert (job["status"], job["model"], job["priority"]) == ("queued", "tiny.en", "interactive")
    assert response.headers["location"] == f"/jobs/{job['job_id']}"
    assert list(house.media.files.values()) == [WAV]


async def test_job_is_done_in_the_end_and_shows_its_segments(house: House, http: httpx.AsyncClient) -> None:
    job = (await http.get(f"/jobs/{await done(house, http)}")).json()

    assert (job["status"], job["progress"], job["language"], job["duration_secs"]) == ("done", 100, "en", 2.5)
    assert [segment["text"] for segment in job["segments"]] == list(SENTENCES)
    assert {segment["end"] > segment["start"] for segment in job["segments"]} == {True}
    assert [segment["words"] for segment in job["segments"]] == [[]] * len(SENTENCES)
    assert job["provenance"]["engine"]["model"] == "tiny.en"


async def test_segments_list_their_words_if_asked_to(house: House, http: httpx.AsyncClient) -> None:
    job_id = await done(house, http, **{"timestamp_granularities[]": "word"})
    events = await house.store.events(job_id, after_seq=0, limit=100)
    told = [event.data for event in events if event.kind == "segment"]

    job = (await http.get(f"/jobs/{job_id}")).json()
    assert job["segments"][0]["words"][0]["word"] == "A"
    assert [segment["words"] for segment in told] == [segment["words"] for segment in job["segments"]]


@pytest.mark.parametrize("field", ["webhook_url", "url", "prompt", "hotwords", "keywords[]", "model", "upload_id"])
@pytest.mark.parametrize("character", ["\x00", "\x01", "\x1b", "\x7f", "\x85"])
async def test_control_characters_are_refused_by_the_name_of_their_field(
    house: House, http: httpx.AsyncClient, field: str, character: str
) -> None:
    fields = {"url": "https://example.com/talk.mp3", field: f"https://example.com/a{character}b"}
    by_form, by_json = await http.post("/jobs", data=fields), await http.post("/jobs", json=fields)

    for response in (by_form, by_json):
        assert (response.status_code, error_of(response)["param"]) == (400, field)


async def test_prompt_may_have_several_lines(house: House, http: httpx.AsyncClient) -> None:
    job_id = await submitted(http, prompt="One.\n\tTwo.\r\n")

    assert (await house.store.get(job_id)).options.decoding.prompt == "One.\n\tTwo.\r\n"


async def test_idempotency_key_of_no_text_is_refused(http: httpx.AsyncClient) -> None:
    response = await http.post("/jobs", files={"audio": WAV}, headers={"Idempotency-Key": "a\x01b"})

    assert (response.status_code, error_of(response)["param"]) == (400, "Idempotency-Key")


async def test_every_option_reaches_the_job(house: House, http: httpx.AsyncClient) -> None:
    fields = {"model": "acme/large", "task": "translate", "language": "German", "beam_size": "2", "priority": "batch"}
    more = {"keywords[]": ["Ada", "Bob"], "temperature": "[0.0]", "channels": "separate", "include[]": "logprobs"}
    job_id = await submitted(http, **fields, **more, webhook_url="https://example.com/hook")  # type: ignore[arg-type]

    job = await house.store.get(job_id)
    decoding = job.options.decoding
    assert (decoding.model_id, decoding.task, decoding.language) == ("acme/large", Task.TRANSLATE, "de")
    assert (decoding.beam_size, decoding.hotwords, decoding.temperatures) == (2, "Ada, Bob", (0.0,))
    assert (decoding.word_times, decoding.logprobs, job.options.channels) == (True, True, "separate")
    assert (job.priority, job.webhook_url) == ("batch", "https://example.com/hook")


async def test_json_says_the_same_as_a_form(house: House, http: httpx.AsyncClient) -> None:
    url = "https://example.com/talk.mp3"
    wishes = {"temperature": [0.0], "beam_size": 2, "keywords": ["Ada"], "vad_filter": False, "prompt": None}
    by_json = await http.post("/jobs", json={"url": url, "chunking_strategy": {"type": "server_vad"}, **wishes})
    strings = {"temperature": "[0.0]", "beam_size": "2", "keywords[]": "Ada", "vad_filter": "false"}
    by_form = await http.post("/jobs", data={"url": url, "chunking_strategy[type]": "server_vad", **strings})

    jobs = [await house.store.get(response.json()["job_id"]) for response in (by_json, by_form)]
    assert jobs[0].options == jobs[1].options
    assert (jobs[0].options.decoding.beam_size, jobs[0].options.speech.vad_filter) == (2, False)


async def test_audio_behind_a_url_is_fetched_by_the_attempt(house: House, http: httpx.AsyncClient) -> None:
    job_id = (await http.post("/jobs", json={"url": "https://example.com/talk.mp3"})).json()["job_id"]
    claim = await house.store.claim(await house.store.take_over(), lease_s=1)

    assert claim is not None
    assert (claim.lease.job_id, claim.source) == (job_id, RemoteMedia("https://example.com/talk.mp3"))


@pytest.mark.parametrize(
    ("wanted", "media_type", "body"),
    [
        ("text", "text/plain", f"{TEXT}\n"),
        ("srt", "text/plain", "1\n00:00:00,000 --> 00:00:00,833\nA stand-in never listens.\n"),
        ("vtt", "text/vtt", "WEBVTT\n\n00:00:00.000 -->"),
        ("json", "application/json", '{"text":"A stand-in never listens.'),
        ("verbose_json", "application/json", '{"task":"transcribe","language":"english","duration":2.5,'),
    ],
)
async def test_result_comes_in_every_format(
    house: House, http: httpx.AsyncClient, wanted: str, media_type: str, body: str
) -> None:
    response = await http.get(f"/jobs/{await done(house, http)}", params={"format": wanted})

    assert response.headers["content-type"].startswith(media_type)
    assert response.text.startswith(body)
    assert response.headers["x-job-status"] == "done"


async def test_result_has_the_layout_asked_for(house: House, http: httpx.AsyncClient) -> None:
    job_id = await done(house, http)
    verbose = {"format": "verbose_json", "timestamp_granularities[]": "word"}
    narrow = {"format": "srt", "max_line_width": "12", "max_line_count": "3"}

    assert {"words"} == {"words", "segments"} & set((await http.get(f"/jobs/{job_id}", params=verbose)).json())
    assert "A stand-in\nnever\nlistens." in (await http.get(f"/jobs/{job_id}", params=narrow)).text


async def test_result_by_speaker_needs_channels(house: House, http: httpx.AsyncClient) -> None:
    response = await http.get(f"/jobs/{await done(house, http)}", params={"format": "diarized_json"})

    assert response.status_code == 400
    assert error_of(response)["param"] == "response_format"


async def test_result_of_a_job_that_has_not_ended_says_so(house: House, http: httpx.AsyncClient) -> None:
    response = await http.get(f"/jobs/{await submitted(http)}", params={"format": "text"})

    assert (response.text, response.headers["x-job-status"]) == ("\n", "queued")


async def test_text_that_was_deleted_is_a_404_and_its_job_is_not(house: House, http: httpx.AsyncClient) -> None:
    job_id = await done(house, http)
    await house.store.forget_text(job_id)
    response = await http.get(f"/jobs/{job_id}", params={"format": "text"})

    assert (response.status_code, error_of(response)["code"]) == (404, "job_not_found")
    assert (await http.get(f"/jobs/{job_id}")).json()["forgotten"] is True


async def test_same_key_and_same_request_is_the_same_job(house: House, http: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await http.post("/jobs", files=FILES, data={"prompt": "Hi"}, headers=headers)
    again = await http.post("/jobs", files={"file": ("renamed.wav", WAV)}, data={"prompt": "Hi"}, headers=headers)

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["job_id"] == again.json()["job_id"]
    assert len(house.media.files) == 1, "the second copy of the audio is still there"


@pytest.mark.parametrize(
    "other",
    [
        {"files": {"audio": ("talk.wav", LONG_WAV)}},
        {"files": FILES, "data": {"prompt": "Hi"}},
        {"data": {"url": "https://example.com"}},
    ],
)
async def test_same_key_for_something_else_is_a_400(house: House, http: httpx.AsyncClient, other: Any) -> None:
    headers = {"Idempotency-Key": "once"}
    await http.post("/jobs", files=FILES, headers=headers)
    response = await http.post("/jobs", **other, headers=headers)

    assert (response.status_code, error_of(response)["code"]) == (400, "idempotency_mismatch")
    assert list(house.media.files.values()) == [WAV]


async def test_store_that_refuses_a_submit_is_a_503_that_says_when_to_come_again(
    house: House, http: httpx.AsyncClient
) -> None:
    house.jobs = Failing(house, StoreUnavailable("The disk is full.", retry_after_s=7))
    response = await http.post("/jobs", files=FILES)

    assert (response.status_code, error_of(response)["code"]) == (503, "store_unavailable")
    assert response.headers["retry-after"] == "7"


@pytest.mark.parametrize("error", [CoordinatorUnavailable("It is starting again."), StoreUnavailable("Cut off.")])
async def test_audio_stays_when_nobody_knows_whether_the_job_was_accepted(
    house: House, http: httpx.AsyncClient, error: Exception
) -> None:
    house.jobs = Failing(house, error, after=True)
    response = await http.post("/jobs", files=FILES, headers={"Idempotency-Key": "once"})
    house.jobs = house.service
    again = await http.post("/jobs", files=FILES, headers={"Idempotency-Key": "once"})

    assert (response.status_code, again.status_code) == (503, 202)
    assert len((await http.get("/jobs")).json()["data"]) == 1
    assert len(house.media.files) == 1


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"model": "nobody"}, "model", "model_not_found"),
        ({"model": "tiny.en", "language": "de"}, "language", "unsupported_language"),
        ({"model": "tiny.en", "task": "translate"}, "model", "unsupported_language"),
        ({"task": "summarise"}, "task", "invalid_value"),
        ({"priority": "now"}, "priority", "invalid_value"),
        ({"beam_size": "99"}, "beam_size", "invalid_value"),
        ({"response_format": "srt"}, "response_format", "invalid_value"),
        ({"stream": "true"}, "stream", "invalid_value"),
        ({"max_line_width": "40"}, "max_line_width", "invalid_value"),
        ({"webhook_url": "ftp://example.com"}, "webhook_url", "invalid_value"),
        ({"webhook_url": "http://10.0.0.1/hook"}, "webhook_url", "invalid_value"),
        ({"url": "https://example.com/a.mp3"}, "audio", "invalid_value"),
        ({"known_speaker_names[]": "Ada"}, "known_speaker_names", "invalid_value"),
        ({"prompt": "a\0b"}, "prompt", "invalid_value"),
    ],
)
async def test_wrong_field_is_refused_before_the_audio_is_kept(
    house: House, http: httpx.AsyncClient, fields: dict[str, str], param: str, code: str
) -> None:
    response = await http.post("/jobs", files=FILES, data=fields)

    error = error_of(response)
    assert response.status_code == (404 if code == "model_not_found" else 400)
    assert (error["param"], error["code"]) == (param, code)
    assert house.media.saved == 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": {"model": "whisper-1"}},
        {"json": {}},
        {"json": []},
        {"content": b"{", "headers": {"content-type": "application/json"}},
        {"content": b"\xff", "headers": {"content-type": "application/json; charset=utf-8"}},
        {"content": b"[" * 100_000, "headers": {"content-type": "application/json"}},
        {"json": {"url": "https://example.com", "prompt": "x" * 300_000}},
        {
            "content": b'{"url": "https://example.com", "prompt": "\\ud800"}',
            "headers": {"content-type": "application/json"},
        },
        {"json": {"url": "https://example.com", "upload_id": "0" * 32}},
        {"json": {"url": "http://intranet/talk.mp3"}},
        {"files": [("audio", ("a.wav", WAV)), ("file", ("b.wav", WAV))]},
        {"files": FILES, "headers": {"Idempotency-Key": "x" * 256}},
    ],
    ids=lambda body: str(body)[:60],
)
async def test_body_without_one_source_of_audio_is_a_400(http: httpx.AsyncClient, body: dict[str, Any]) -> None:
    response = await http.post("/jobs", **body)

    assert response.status_code == 400
    assert error_of(response)["type"] == "invalid_request_error"


async def test_list_is_newest_first_in_pages(http: httpx.AsyncClient) -> None:
    ids = [await submitted(http) for _ in range(3)]
    first = (await http.get("/jobs", params={"limit": 2})).json()
    second = (await http.get("/jobs", params={"limit": 2, "cursor": first["next_cursor"]})).json()

    assert [job["id"] for job in first["data"] + second["data"]] == ids[::-1]
    assert second["next_cursor"] is None
    assert "segments" not in first["data"][0]


async def test_list_can_be_of_one_status(http: httpx.AsyncClient) -> None:
    cancelled, _ = await submitted(http), await submitted(http)
    await http.delete(f"/jobs/{cancelled}")

    found = (await http.get("/jobs", params={"status": "cancelled"})).json()["data"]
    assert [job["id"] for job in found] == [cancelled]


@pytest.mark.parametrize(
    ("params", "param"),
    [({"limit": "0"}, "limit"), ({"limit": "x"}, "limit"), ({"status": "lost"}, "status"), ({"cursor": "x"}, "cursor")],
)
async def test_wrong_query_is_a_400_that_names_it(http: httpx.AsyncClient, params: Any, param: str) -> None:
    response = await http.get("/jobs", params=params)

    assert response.status_code == 400
    assert (error_of(response)["param"], error_of(response)["code"]) == (param, "invalid_value")


async def test_cancel_ends_a_job_and_can_be_repeated(house: House, http: httpx.AsyncClient) -> None:
    job_id = await submitted(http)
    first, again = await http.delete(f"/jobs/{job_id}"), await http.delete(f"/jobs/{job_id}")

    assert (first.status_code, first.json()["status"]) == (200, "cancelled")
    assert again.json() == first.json()


async def test_purge_deletes_job_and_audio(house: House, http: httpx.AsyncClient) -> None:
    job_id = await submitted(http)
    response = await http.delete(f"/jobs/{job_id}", params={"purge": "true"})

    assert (response.status_code, response.content) == (204, b"")
    assert (await http.get(f"/jobs/{job_id}")).status_code == 404
    assert house.media.files == {}


async def test_deliveries_are_listed_and_sent_again(house: House, http: httpx.AsyncClient) -> None:
    job_id = await submitted(http, webhook_url="https://example.com/hook")
    await http.delete(f"/jobs/{job_id}")
    listed = (await http.get(f"/jobs/{job_id}/deliveries")).json()["data"]
    resent = await http.post(f"/jobs/{job_id}/deliveries/{listed[0]['id']}/resend")

    assert (listed[0]["url"], listed[0]["event"]) == ("https://example.com/hook", "job.cancelled")
    assert (resent.status_code, resent.json()["status"], resent.json()["attempts"]) == (202, "pending", 0)
    assert len(listed[0]) == len(dataclasses.fields(Delivery)) - 2  # the job is known, and is what is told


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/jobs/{}", "job_not_found"),
        ("GET", "/jobs/{}/stream", "job_not_found"),
        ("DELETE", "/jobs/{}", "job_not_found"),
        ("DELETE", "/jobs/{}?purge=true", "job_not_found"),
        ("GET", "/jobs/{}/deliveries", "job_not_found"),
        ("POST", "/jobs/{}/deliveries/msg_1/resend", "job_not_found"),
    ],
)
@pytest.mark.parametrize("job_id", [NOBODY, "no-uuid", "%00"])
async def test_unknown_job_is_a_404(http: httpx.AsyncClient, method: str, path: str, code: str, job_id: str) -> None:
    response = await http.request(method, path.format(job_id))

    assert (response.status_code, error_of(response)["code"]) == (404, code)


@pytest.mark.parametrize("delivery_id", ["nothing", "%00", "%C3%A4"])
async def test_unknown_delivery_is_a_404(http: httpx.AsyncClient, delivery_id: str) -> None:
    response = await http.post(f"/jobs/{await submitted(http)}/deliveries/{delivery_id}/resend")

    assert (response.status_code, error_of(response)["code"]) == (404, "delivery_not_found")


async def test_keys_do_not_see_one_another(tmp_path: Path) -> None:
    house = House(tmp_path, keys=KEYS)
    async with house.client(KEYS[0]) as ada, house.client(KEYS[1]) as bob:
        headers = {"Idempotency-Key": "once"}
        of_ada = (await ada.post("/jobs", files=FILES, headers=headers)).json()["job_id"]
        of_bob = (await bob.post("/jobs", files=FILES, headers=headers)).json()["job_id"]
        foreign = [
            await bob.request(method, f"/jobs/{of_ada}{rest}")
            for method, rest in [
                ("GET", ""),
                ("GET", "/stream"),
                ("DELETE", ""),
                ("DELETE", "?purge=1"),
                ("GET", "/deliveries"),
            ]
        ]
        seen = [[job["id"] for job in (await client.get("/jobs")).json()["data"]] for client in (ada, bob)]

    assert seen == [[of_ada], [of_bob]]
    assert {response.status_code for response in foreign} == {404}
    assert (await house.store.get(of_ada)).owner not in KEYS, "the key itself was stored"


@pytest.mark.parametrize("path", ["/jobs", f"/jobs/{NOBODY}", f"/jobs/{NOBODY}/stream", f"/jobs/{NOBODY}/deliveries"])
async def test_jobs_need_a_key_where_there_are_any(tmp_path: Path, path: str) -> None:
    async with House(tmp_path, keys=KEYS).client() as client:
        response = await client.get(path)

    assert (response.status_code, error_of(response)["code"]) == (401, "invalid_api_key")


async def test_service_without_jobs_says_so(tmp_path: Path) -> None:
    plain = dataclasses.replace(House(tmp_path).services, jobs=None)
    async with client_of(plain) as client:
        response = await client.post("/jobs", files=FILES)

    assert response.status_code == 404
    assert "no jobs" in error_of(response)["message"]


async def test_service_without_a_fetcher_takes_no_url(tmp_path: Path) -> None:
    plain = dataclasses.replace(House(tmp_path).services, fetcher=None)
    async with client_of(plain) as client:
        response = await client.post("/jobs", json={"url": "https://example.com/a.mp3"})

    assert (response.status_code, error_of(response)["param"]) == (400, "url")


async def test_health_counts_requests_in_progress_beside_the_jobs_that_wait(tmp_path: Path) -> None:
    house = House(tmp_path)
    app = house.app
    async with house.client(app=app) as client:
        await submitted(client)
        with app.state.limiter.place(None):
            health = await client.get("/health")

    assert health.json()["queue_depth"] == 2


async def test_health_counts_the_jobs_that_wait(http: httpx.AsyncClient) -> None:
    await submitted(http)

    assert (await http.get("/health")).json()["queue_depth"] == 1


async def test_health_is_degraded_while_the_jobs_cannot_be_asked(house: House, http: httpx.AsyncClient) -> None:
    class Away(JobService):
        def __init__(self) -> None: ...

        async def stats(self) -> Any:
            raise CoordinatorUnavailable("It is starting again.")

    house.jobs = Away()
    health, ready = await http.get("/health"), await http.get("/health/ready")

    assert (health.status_code, health.json()["status"], health.json()["queue_depth"]) == (200, "degraded", 0)
    assert ready.status_code == 200, "synchronous transcription needs no Coordinator"


async def test_service_whose_job_store_is_broken_is_not_ready_and_says_why(
    house: House, http: httpx.AsyncClient
) -> None:
    class Broken(JobService):
        def __init__(self) -> None: ...

        async def stats(self) -> Any:
            raise StoreUnavailable("The disk with /srv/jobs is full.")

    house.jobs = Broken()
    health, ready = await http.get("/health"), await http.get("/health/ready")

    assert (health.json()["status"], health.json()["model_state"]) == ("degraded", "ready")
    assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
    assert "job store" in ready.json()["reason"]
    assert "/srv" not in ready.text, "probes have no key"
