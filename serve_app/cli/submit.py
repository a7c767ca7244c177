"""`rayscribe submit`: one job, and its id."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import typer
from rich.console import Console

from serve_app.cli import job_requests
from serve_app.cli.files import size_bytes
from serve_app.cli.job_requests import Submission
from serve_app.cli.jobs import watched
from serve_app.cli.progress import ONLY, upload_bar
from serve_app.cli.remote import Remote, ServiceClient


def run_submit(remote: Remote, submission: Submission, *, wait: bool, as_json: bool) -> None:
    """
    Submit a job, print its id, and follow it if told to.

    Raises:
        NoService, Refused: The service did not take it.
        JobEndedBadly: It was waited for, and failed or was cancelled.
        FileFailed: The file cannot be read.
    """
    asyncio.run(_submit(remote, submission, wait=wait, as_json=as_json))


async def _submit(remote: Remote, submission: Submission, *, wait: bool, as_json: bool) -> None:
    async with ServiceClient(remote) as client:
        job_id = await _submitted(client, submission)
        if not as_json:
            typer.echo(job_id)
        job = await watched(client, job_id) if wait else await job_requests.get(client, job_id)
        if as_json:
            typer.echo(json.dumps(job, ensure_ascii=False))
        if wait:
            job_requests.check_done(job)


async def _submitted(client: ServiceClient, submission: Submission) -> str:
    source = submission.source
    if not isinstance(source, Path):
        return await job_requests.submit(client, submission)
    with upload_bar(Console(stderr=True), source.name, size_bytes(source)) as bar:
        return await job_requests.submit(client, submission, lambda sent: bar.update(ONLY, completed=sent))
