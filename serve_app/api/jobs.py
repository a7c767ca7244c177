"""`/jobs`: parse, authorise, call one verb, render the job."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import JSONResponse, Response

from serve_app.api import job_documents
from serve_app.api.auth import OwnerDep, ViewerDep, needs
from serve_app.api.events import LastSeen
from serve_app.api.forms import parse
from serve_app.api.job_events import JobEvents
from serve_app.api.job_forms import read_submission
from serve_app.api.job_schemas import ResultQuery, delivery_object
from serve_app.api.places import StackDep, stream_place
from serve_app.api.rates import counted
from serve_app.api.services import JobsDep, LimiterDep, ServicesDep
from serve_app.api.streams import EventStream
from serve_app.api.submitting import Submitter
from serve_app.api.tus import UploadsDep
from serve_app.errors import DeliveryNotFound, JobNotFound
from serve_app.jobs.job import JobDetails, JobQuery, Status
from serve_app.jobs.rendering import job_object, transcript_of
from serve_app.settings import Scope
from serve_app.transcript.render import MEDIA_TYPES, Format, no_diarizer, render, to_json

router = APIRouter(prefix="/jobs", tags=["jobs"], dependencies=[Depends(needs(Scope.JOBS))])

JSON = "application/json"
MAX_PAGE = 100


async def known_form(job_id: str) -> str:
    """
    Raises:
        JobNotFound: That is no id that a job can have.
    """
    try:
        return str(uuid.UUID(job_id))
    except ValueError:
        raise JobNotFound("There is no such job.") from None


JobId = Annotated[str, Depends(known_form)]


@router.post("", status_code=202, dependencies=[Depends(counted)], **job_documents.SUBMIT)
async def submit(
    request: Request, stack: StackDep, services: ServicesDep, jobs: JobsDep, uploads: UploadsDep, owner: OwnerDep
) -> Response:
    """Submit audio; the answer comes once it is safe, the transcript later."""
    submission = await read_submission(request, stack)
    submitted = await Submitter(services, jobs, uploads, owner).submit(submission)
    job_id = submitted.job.job_id
    answer = {"job_id": job_id, **job_object(JobDetails(submitted.job))}
    location = f"{request.scope.get('root_path', '')}{router.prefix}/{job_id}"
    return Response(to_json(answer), 202, {"Location": location}, JSON)


@router.get("", **job_documents.LIST)
async def list_jobs(
    jobs: JobsDep,
    viewer: ViewerDep,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
    cursor: str | None = None,
    status: Status | None = None,
) -> Response:
    """List jobs, newest first, without their segments."""
    page = await jobs.page(JobQuery(limit, cursor, status), viewer)
    data = [job_object(JobDetails(job), with_segments=False) for job in page.jobs]
    return Response(to_json({"object": "list", "data": data, "next_cursor": page.next_cursor}), media_type=JSON)


@router.get("/{job_id}", **job_documents.RETRIEVE)
async def retrieve(job_id: JobId, request: Request, jobs: JobsDep, viewer: ViewerDep) -> Response:
    """Show a job with what was transcribed so far, or its result in one of OpenAI's formats."""
    query = parse(ResultQuery, request.query_params.multi_items())
    details = await jobs.get(job_id, viewer)
    return _result(details, query.format, query) if query.format else _shown(details)


@router.get(
    "/{job_id}/stream",
    status_code=200,
    response_class=EventStream,
    dependencies=[Depends(stream_place)],
    **job_documents.STREAM,
)
async def stream(
    job_id: JobId,
    request: Request,
    services: ServicesDep,
    jobs: JobsDep,
    limiter: LimiterDep,
    viewer: ViewerDep,
    last_seen: LastSeen,
) -> EventStream:
    """Follow a job: first what has happened, then what happens, to its end."""
    await jobs.deliveries(job_id, viewer)  # says whether there is such a job, and reads nothing large
    events = JobEvents(jobs, viewer, services.sleep, lambda: limiter.draining, request.scope["request_id"])
    return EventStream(events.follow(job_id, last_seen or 0), heartbeat_s=services.heartbeat_s)


@router.delete("/{job_id}", **job_documents.CANCEL)
async def cancel(job_id: JobId, jobs: JobsDep, viewer: ViewerDep, purge: bool = False) -> Response:
    """Cancel a job, keeping what was transcribed; with `purge`, delete it and its audio."""
    if purge:
        await jobs.purge(job_id, viewer)
        return Response(status_code=204)
    return _shown(await jobs.cancel(job_id, viewer))


@router.get("/{job_id}/deliveries", **job_documents.DELIVERIES)
async def deliveries(job_id: JobId, jobs: JobsDep, viewer: ViewerDep) -> JSONResponse:
    """List the webhooks of a job."""
    found = await jobs.deliveries(job_id, viewer)
    return JSONResponse({"object": "list", "data": [delivery_object(delivery) for delivery in found]})


@router.post("/{job_id}/deliveries/{delivery_id}/resend", status_code=202, **job_documents.RESEND)
async def resend(job_id: JobId, delivery_id: str, jobs: JobsDep, viewer: ViewerDep) -> JSONResponse:
    """Send a webhook again, with retries counted anew."""
    if not (delivery_id.isascii() and delivery_id.isprintable()):
        raise DeliveryNotFound("The job has no such webhook delivery.")
    return JSONResponse(delivery_object(await jobs.resend(job_id, delivery_id, viewer)), 202)


def _shown(details: JobDetails) -> Response:
    return Response(to_json(job_object(details)), media_type=JSON)


def _result(details: JobDetails, wanted: Format, query: ResultQuery) -> Response:
    if details.job.forgotten:
        raise JobNotFound("The text of this job was deleted: this service keeps it only until it was delivered.")
    transcript = transcript_of(details)
    if wanted is Format.DIARIZED_JSON and transcript.channels < 2:
        raise no_diarizer()
    layout = query.layout(logprobs=details.job.options.decoding.logprobs)
    headers = {"x-job-status": details.job.status.value}  # text alone would not say that it is only a part
    return Response(render(transcript, wanted, layout), headers=headers, media_type=MEDIA_TYPES[wanted])
