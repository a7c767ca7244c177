"""Jobs from a client's side: submit, follow over cuts, fetch the result."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from httpx_sse import EventSource, ServerSentEvent, SSEError

from serve_app.cli.exits import JobEndedBadly, NoService, Refused
from serve_app.cli.files import FileFailed, size_bytes
from serve_app.cli.remote import ServiceClient, form
from serve_app.cli.tus import uploaded
from serve_app.cli.wishes import Fields, OutputFormat, Priority, Wishes
from serve_app.errors import RayscribeError

LARGE_BYTES = 64 * 1024 * 1024  # above it a file goes up in parts, which can go on after a cut
ENDS = ("done", "failed", "cancelled")
RECONNECT_S = 0.2  # a stream ends by itself now and then, so that the service can restart its processes

JobObject = dict[str, Any]
Report = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Submission:
    """One job as it is to be submitted."""

    source: Path | str  # a file, or a URL for the service to fetch
    wishes: Wishes = field(default_factory=Wishes)
    priority: Priority | None = None
    webhook_url: str = ""
    idempotency_key: str = field(default_factory=lambda: str(uuid.uuid4()))

    def fields(self) -> Fields:
        given = {
            "task": self.wishes.task,
            "timestamp_granularities[]": "word" if self.wishes.word_times else "",
            "priority": self.priority,
            "webhook_url": self.webhook_url,
        }
        return [*self.wishes.fields(), *((name, str(value)) for name, value in given.items() if value)]


def submission(
    source: str, wishes: Wishes, priority: Priority | None, *, webhook_url: str, idempotency_key: str
) -> Submission:
    """
    A submission of a file or a URL.

    Raises:
        FileFailed: There is no such file.
    """
    remote = source.startswith(("http://", "https://", "s3://"))
    if not remote and not Path(source).is_file():
        raise FileFailed(_no_file(source))
    return Submission(
        source if remote else Path(source), wishes, priority, webhook_url, idempotency_key or str(uuid.uuid4())
    )


def _no_file(source: str) -> str:
    if Path(source).is_dir():
        return f"{source} is a directory: submit its files one by one, or use `rayscribe transcribe`"
    if "://" in source:
        return f"{source} cannot be fetched: the service knows http://, https:// and s3://"
    return f"there is no file {source}"


@dataclass(frozen=True, slots=True)
class JobEvent:
    """
    One event of a job.

    Attributes:
        id: What `Last-Event-ID` takes.
        kind: progress, segment, done, failed, cancelled, …
        data: As the service sent it; the last event of a job has it as `job`.
    """

    id: str
    kind: str
    data: dict[str, Any]


async def submit(client: ServiceClient, submission: Submission, report: Report = lambda _: None) -> str:
    """
    Submit a job; gives its id.

    Args:
        report: Told how many bytes of a large file the service has.

    Raises:
        NoService, Refused: As `ServiceClient.send`.
    """
    fields, source = submission.fields(), submission.source
    if isinstance(source, str):
        return await _post(client, submission, form([*fields, ("url", source)]))
    if size_bytes(source) <= LARGE_BYTES:
        try:
            return await _post_file(client, submission, source)
        except Refused as error:
            if not error.too_large:  # this service takes less in one request than most
                raise
    return await uploaded(
        client, source, report, lambda upload_id: _post(client, submission, form([*fields, ("upload_id", upload_id)]))
    )


async def follow(client: ServiceClient, job_id: str) -> AsyncGenerator[JobEvent, None]:
    """
    All events of a job to its end, each once, over any number of cuts.

    Raises:
        NoService, Refused: As `ServiceClient.send`.
    """
    last_id, patience = "", client.patience()
    while True:
        wait_s = RECONNECT_S
        try:
            async with aclosing(_slice(client, job_id, last_id)) as events:
                async for event in events:
                    last_id, patience = event.id or last_id, client.patience()
                    yield event
                    if event.kind in ENDS:
                        return
        except NoService as error:
            wait_s = patience.wait_s(error)
        await client.sleep(wait_s)


async def get(client: ServiceClient, job_id: str) -> JobObject:
    return _object(await client.send("GET", f"/jobs/{job_id}"))


async def rendering(client: ServiceClient, job_id: str, wanted: OutputFormat, wishes: Wishes) -> str:
    """The result in a format."""
    (_, name), *layout = wishes.layout(wanted)
    return (await client.send("GET", f"/jobs/{job_id}", params=[("format", name), *layout])).text


async def cancel(client: ServiceClient, job_id: str) -> JobObject:
    return _object(await client.send("DELETE", f"/jobs/{job_id}"))


async def purge(client: ServiceClient, job_id: str) -> None:
    await client.send("DELETE", f"/jobs/{job_id}", params={"purge": "true"})


def check_done(job: JobObject) -> None:
    """
    Raises:
        JobEndedBadly: It failed or was cancelled; says why.
    """
    if job["status"] == "done":
        return
    error = job.get("error")
    raise JobEndedBadly(why(job), code=error["code"] if isinstance(error, dict) else job["status"])


def why(job: JobObject) -> str:
    """How a job ended badly, in a sentence."""
    error = job.get("error")
    if not error:
        return f"job {job['id']} is {job['status']}"
    return str(error["message"] if isinstance(error, dict) else error)


async def _post_file(client: ServiceClient, submission: Submission, path: Path) -> str:
    with path.open("rb") as file:
        return await _post(client, submission, form(submission.fields(), ("audio", (path.name, file))))


async def _post(client: ServiceClient, submission: Submission, files: list[Any]) -> str:
    headers = {"Idempotency-Key": submission.idempotency_key}
    answer = _object(await client.send("POST", "/jobs", files=files, headers=headers))
    return str(answer["job_id"])


async def _slice(client: ServiceClient, job_id: str, last_id: str) -> AsyncGenerator[JobEvent, None]:
    """What one connection gives."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
    response = await client.open("GET", f"/jobs/{job_id}/stream", headers=headers)
    async with aclosing(response):
        try:
            async for event in EventSource(response).aiter_sse():
                if event.data:  # else it only says how soon to reconnect
                    yield _event(event)
        except (SSEError, ValueError) as error:
            raise RayscribeError(f"{client.url} sent no event stream for job {job_id}: {error}") from error
        except httpx.TransportError as error:
            raise NoService(f"the stream of job {job_id} was cut: {error}") from error


def _event(event: ServerSentEvent) -> JobEvent:
    """
    Raises:
        Refused: The stream failed after it had begun, and says so.
    """
    data = json.loads(event.data)
    if error := data.get("error") if event.event == "message" else None:
        raise Refused(str(error["message"]), status=httpx.codes.INTERNAL_SERVER_ERROR, code=str(error["code"]))
    return JobEvent(event.id, event.event, data)


def _object(response: httpx.Response) -> JobObject:
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Refused(f"{response.url.host} answered no JSON object: is it rayscribe?", status=200, code="unknown")
    return answer
