"""A job's events reach the caller once each, whatever happens to the connections."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable

import httpx
import pytest

from serve_app.cli import job_requests
from serve_app.cli.exits import JobEndedBadly, Refused
from serve_app.errors import RayscribeError
from tests.unit.cli.client import PatientClient, Script, problem


class Stream(httpx.AsyncByteStream):
    """Some events, and then a cut if so told."""

    def __init__(self, ids: Iterable[int], *, last: str = "progress", cut: bool = False) -> None:
        self._ids, self._last, self._cut = list(ids), last, cut

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"retry: 1000\n\n: still here\n\n"
        for id in self._ids:
            kind = self._last if id == self._ids[-1] else "progress"
            yield f"id: {id}\nevent: {kind}\ndata: {json.dumps({'type': kind, 'percent': id})}\n\n".encode()
        if self._cut:
            raise httpx.ReadError("cut")


def answer(stream: Stream) -> httpx.Response:
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=stream)


async def ids(client: PatientClient) -> list[str]:
    return [event.id async for event in job_requests.follow(client, "j")]


async def test_stream_is_resumed_after_the_last_event_that_came() -> None:
    script = Script(
        answer(Stream([1, 2], cut=True)),
        httpx.ConnectError("refused"),
        problem(503, retry_after="3"),
        answer(Stream([3])),  # a slice that ended by itself
        answer(Stream([4, 5], last="done")),
    )
    async with PatientClient(script) as client:
        assert await ids(client) == ["1", "2", "3", "4", "5"]

    assert [r.headers.get("last-event-id") for r in script.requests] == [None, "2", "2", "2", "3"]


@pytest.mark.parametrize("last", ["done", "failed", "cancelled"])
async def test_last_event_ends_it(last: str) -> None:
    script = Script(answer(Stream([1], last=last)))
    async with PatientClient(script) as client:
        assert await ids(client) == ["1"]


async def test_unknown_job_is_an_error_at_once() -> None:
    async with PatientClient(Script(problem(404, "No such job.", "job_not_found"))) as client:
        with pytest.raises(Refused, match="No such job"):
            await ids(client)


async def test_failure_in_the_middle_is_an_error() -> None:
    body = (
        b'event: progress\nid: 1\ndata: {}\n\ndata: {"error": {"message": "Gone wrong.", "code": "internal_error"}}\n\n'
    )
    script = Script(httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body))
    async with PatientClient(script) as client:
        with pytest.raises(Refused, match="Gone wrong"):
            await ids(client)


async def test_what_is_no_stream_is_said() -> None:
    async with PatientClient(Script(httpx.Response(200, html="<p>Log in"))) as client:
        with pytest.raises(RayscribeError, match="no event stream"):
            await ids(client)


@pytest.mark.parametrize(
    ("job", "says", "code"),
    [
        ({"id": "j", "status": "failed", "error": {"code": "c", "message": "Not audio."}}, "Not audio", "c"),
        ({"id": "j", "status": "failed", "error": "Not audio."}, "Not audio", "failed"),
        ({"id": "j", "status": "cancelled", "error": None}, "job j is cancelled", "cancelled"),
    ],
)
def test_bad_end_is_told_with_its_reason_and_its_code(job: job_requests.JobObject, says: str, code: str) -> None:
    with pytest.raises(JobEndedBadly, match=says) as ended:
        job_requests.check_done(job)

    assert ended.value.code == code
