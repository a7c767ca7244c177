"""`rayscribe jobs`: what the service's jobs are at, for people and for programs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table

from serve_app.cli import job_requests
from serve_app.cli.exits import FAILED, Refused
from serve_app.cli.job_requests import JobEvent, JobObject
from serve_app.cli.remote import Remote, ServiceClient
from serve_app.cli.wishes import OutputFormat, Wishes

PAGE = 100
ID_WIDTH = 36  # of a UUID
WIDE = 200
DETAILS = (
    "status",
    "waiting_for",
    "progress",
    "queue_position",
    "eta_secs",
    "model",
    "language",
    "task",
    "duration_secs",
)

Show = Callable[[JobEvent], None]


def run_list(remote: Remote, *, status: str, limit: int, as_json: bool) -> None:
    """
    Print the newest jobs.

    Raises:
        NoService, Refused: The service did not answer, or not well.
    """
    jobs = asyncio.run(_list(remote, status, limit))
    if as_json:
        for job in jobs:
            _print_json(job)
    else:
        console = Console(highlight=False)
        console.width = console.width if console.is_terminal else WIDE  # what goes to a file is not cut
        console.print(_table(jobs))


def run_get(remote: Remote, job_id: str, wanted: OutputFormat | None, wishes: Wishes, *, as_json: bool) -> None:
    """
    Print a job, or its result in a format.

    Raises:
        NoService, Refused: As `run_list`; also when there is no such job, or no result yet.
    """
    asyncio.run(_get(remote, job_id, wanted, wishes, as_json=as_json))


def run_watch(remote: Remote, job_id: str, *, as_json: bool) -> None:
    """
    Print a job's events until it ends.

    Raises:
        JobEndedBadly: It failed or was cancelled.
        NoService, Refused: As `run_get`.
    """
    asyncio.run(_watch(remote, job_id, as_json=as_json))


def run_cancel(remote: Remote, job_ids: Sequence[str], *, purge: bool, as_json: bool) -> None:
    """
    Cancel jobs, or delete them; one that cannot be is told of and stops no other.

    Raises:
        NoService: As `run_get`.
        typer.Exit: With 1, when one of them could not be.
    """
    if not asyncio.run(_cancel(remote, job_ids, purge=purge, as_json=as_json)):
        raise typer.Exit(FAILED)


async def watched(client: ServiceClient, job_id: str, show: Show = lambda _: None) -> JobObject:
    """Follow a job to its end with a bar on standard error; gives it as it is then."""
    job: JobObject = {}
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("queued", total=100)
        async with aclosing(job_requests.follow(client, job_id)) as events:
            async for event in events:
                if event.kind == "progress":
                    bar.update(task, description="running", completed=event.data["percent"])
                show(event)
                job = event.data.get("job", job)
    return job


async def _list(remote: Remote, status: str, limit: int) -> list[JobObject]:
    found: list[JobObject] = []
    cursor: str | None = None
    async with ServiceClient(remote) as client:
        while len(found) < limit:
            wanted = {"limit": min(PAGE, limit - len(found)), "status": status or None, "cursor": cursor}
            params = {name: value for name, value in wanted.items() if value is not None}
            page = (await client.send("GET", "/jobs", params=params)).json()
            found += page["data"]
            cursor = page.get("next_cursor")
            if not cursor:
                break
    return found


async def _get(remote: Remote, job_id: str, wanted: OutputFormat | None, wishes: Wishes, *, as_json: bool) -> None:
    async with ServiceClient(remote) as client:
        if wanted:
            typer.echo(await job_requests.rendering(client, job_id, wanted, wishes), nl=False)
            return
        job = await job_requests.get(client, job_id)
    if as_json:
        _print_json(job)
    else:
        _print_job(job)


async def _watch(remote: Remote, job_id: str, *, as_json: bool) -> None:
    async with ServiceClient(remote) as client:
        job = await watched(client, job_id, _show_json if as_json else _show_text)
    job_requests.check_done(job)


async def _cancel(remote: Remote, job_ids: Sequence[str], *, purge: bool, as_json: bool) -> bool:
    """Whether all of them were."""
    good = True
    async with ServiceClient(remote) as client:
        for job_id in job_ids:
            try:
                job = await _cancelled(client, job_id, purge=purge)
            except Refused as error:
                typer.echo(f"rayscribe: {job_id}: {error.message}", err=True)
                good = False
                continue
            if as_json:
                _print_json(job)
            else:
                typer.echo(f"{job['id']} {job['status']}")
    return good


async def _cancelled(client: ServiceClient, job_id: str, *, purge: bool) -> JobObject:
    if not purge:
        return await job_requests.cancel(client, job_id)
    await job_requests.purge(client, job_id)
    return {"id": job_id, "status": "purged"}


def _show_json(event: JobEvent) -> None:
    _print_json({"id": event.id, "event": event.kind, "data": event.data})


def _show_text(event: JobEvent) -> None:
    if event.kind == "segment":
        _print_segment(event.data)


def _print_job(job: JobObject) -> None:
    for name in DETAILS:
        if job.get(name) not in (None, ""):
            typer.echo(f"{name}: {job[name]}")
    if job.get("error"):
        typer.echo(f"error: {job_requests.why(job)}")
    for segment in job["segments"]:
        _print_segment(segment)


def _print_segment(segment: Mapping[str, Any]) -> None:
    typer.echo(f"[{clock(segment['start'])} → {clock(segment['end'])}] {segment['text'].strip()}")


def _table(jobs: Sequence[JobObject]) -> Table:
    job_column = Column("job", no_wrap=True, min_width=ID_WIDTH)
    table = Table(
        job_column, "status", "%", "audio", "model", "created (UTC)", box=None, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for job in jobs:
        status = f"{job['status']} ({job['waiting_for']})" if job.get("waiting_for") else job["status"]
        length = "" if job["duration_secs"] is None else clock(job["duration_secs"])
        created = job["created_at"].replace("T", " ").removesuffix("Z")
        table.add_row(job["id"], status, str(job["progress"]), length, job.get("model") or "", created)
    return table


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:04.1f}"


def _print_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False))
