"""Who transcribes for `rayscribe transcribe`: a service, by the door that fits the file. The engine in this process is in `local`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from serve_app.cli import job_requests
from serve_app.cli.exits import Refused
from serve_app.cli.files import size_bytes
from serve_app.cli.job_requests import Submission
from serve_app.cli.remote import ServiceClient, form
from serve_app.cli.wishes import OutputFormat, Task, Wishes
from serve_app.errors import RayscribeError

AT_ONCE_BYTES = 8 * 1024 * 1024  # minutes of speech; above it a job, which says how far it is
LONGEST_ANSWER_S = 3600.0
CLEAN_UP_S = 5.0

Report = Callable[[float], None]
"""Told which fraction of a file is done."""


@dataclass(frozen=True, slots=True)
class Transcribed:
    """One file's transcript in each format that was asked for."""

    texts: Mapping[OutputFormat, str]
    duration_s: float | None  # of the audio


class Backend(Protocol):
    async def transcribe(self, path: Path, formats: Sequence[OutputFormat], report: Report) -> Transcribed:
        """
        Transcribe one file; cancelling the call stops the work.

        Raises:
            RayscribeError: This file cannot be transcribed, or not now.
            NoService: No file can.
            OSError: It cannot be read.
        """
        ...

    async def aclose(self) -> None: ...


class ServiceBackend(Backend):
    """
    A running service. One format of a small file is one OpenAI request; everything else is a job, which hears the file once
    for all formats, tells how far it is, takes a file of any size, and is purged when its result is here.
    """

    def __init__(self, client: ServiceClient, wishes: Wishes) -> None:
        self._client = client
        self._wishes = wishes

    async def aclose(self) -> None:
        await self._client.aclose()

    async def transcribe(self, path: Path, formats: Sequence[OutputFormat], report: Report) -> Transcribed:
        if len(formats) == 1 and size_bytes(path) <= AT_ONCE_BYTES:
            try:
                return await self._at_once(path, formats[0])
            except Refused as error:
                if not error.too_large:  # this service takes less in one request than most
                    raise
        return await self._by_job(path, formats, report)

    async def _at_once(self, path: Path, wanted: OutputFormat) -> Transcribed:
        route = "translations" if self._wishes.task is Task.TRANSLATE else "transcriptions"
        with path.open("rb") as file:
            response = await self._client.send(
                "POST",
                f"/v1/audio/{route}",
                files=form([*self._wishes.fields(), *self._wishes.layout(wanted)], ("file", (path.name, file))),
                timeout=httpx.Timeout(LONGEST_ANSWER_S),
            )
        length = response.headers.get("x-audio-seconds")  # a service of another version may not tell
        return Transcribed({wanted: response.text}, float(length) if length else None)

    async def _by_job(self, path: Path, formats: Sequence[OutputFormat], report: Report) -> Transcribed:
        job_id = await job_requests.submit(self._client, Submission(path, self._wishes))
        try:
            async with aclosing(job_requests.follow(self._client, job_id)) as events:
                async for event in events:
                    if event.kind == "progress":
                        report(event.data["percent"] / 100)
                    job = event.data.get("job", {})
            job_requests.check_done(job)
            texts = {f: await job_requests.rendering(self._client, job_id, f, self._wishes) for f in formats}
            return Transcribed(texts, job["duration_secs"])
        finally:
            # Nobody asks for it again; after Ctrl-C this is what stops the work.
            with suppress(RayscribeError, TimeoutError):
                async with asyncio.timeout(CLEAN_UP_S):
                    await job_requests.purge(self._client, job_id)
