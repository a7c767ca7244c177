"""The service as its users see it: HTTP, and nothing else."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.failure import BenchFailed, Refused
from benchmarks.reference import Heard

ROUTE = "/v1/audio/transcriptions"
LONGEST_S = 1800


@dataclass(frozen=True, slots=True)
class Streamed:
    """A transcript that came in pieces."""

    heard: Heard
    first_delta_s: float


class Client:
    """Sends recordings to a service and takes the time."""

    def __init__(self, url: str, key: str, *, model: str) -> None:
        self._options = {"base_url": url, "headers": {"Authorization": f"Bearer {key}"}, "timeout": LONGEST_S}
        self._model = model
        self._http = httpx.Client(**self._options)  # type: ignore[arg-type]

    def close(self) -> None:
        self._http.close()

    def transcribe(self, path: Path, *, response_format: str = "json") -> Heard:
        """
        The transcript of a file.

        Args:
            response_format: Of those with a `text`; `verbose_json` has the service find the time of each word too.

        Raises:
            Refused: The service can't read the file.
            BenchFailed: The service answered with an error.
        """
        data = path.read_bytes()
        form = {"model": self._model, "response_format": response_format}
        began = time.perf_counter()
        answer = self._http.post(ROUTE, files={"file": (path.name, data)}, data=form)
        took_s = time.perf_counter() - began
        return Heard(_text(answer), took_s)

    def stream(self, path: Path) -> Streamed:
        """
        The transcript of a file as server-sent events.

        Raises:
            BenchFailed: The service answered with an error, or ended without a transcript.
        """
        form = {"model": self._model, "stream": "true"}
        files = {"file": (path.name, path.read_bytes())}
        began = time.perf_counter()
        first_s = 0.0
        with self._http.stream("POST", ROUTE, files=files, data=form) as answer:
            if answer.is_error:
                answer.read()
                raise BenchFailed(_text(answer))
            for event in _events(answer.iter_lines()):
                first_s = first_s or time.perf_counter() - began
                if event.get("type") == "transcript.text.done":
                    return Streamed(Heard(event["text"], time.perf_counter() - began), first_s)
        raise BenchFailed("the stream of a transcript ended without its last event")

    def transcribe_all(self, paths: Sequence[Path], *, clients: int) -> float:
        """
        Seconds until so many clients at once, each sending one file after the other, had all files transcribed.

        Raises:
            BenchFailed: The service answered one of them with an error.
        """
        bodies = {path: path.read_bytes() for path in set(paths)}
        return asyncio.run(self._all([(path.name, bodies[path]) for path in paths], clients))

    async def _all(self, uploads: Sequence[tuple[str, bytes]], clients: int) -> float:
        async with httpx.AsyncClient(**self._options) as http:  # type: ignore[arg-type]
            queue = iter(uploads)

            async def work() -> None:
                for upload in queue:
                    _text(await http.post(ROUTE, files={"file": upload}, data={"model": self._model}))

            began = time.perf_counter()
            await asyncio.gather(*(work() for _ in range(clients)))
            return time.perf_counter() - began


def _text(answer: httpx.Response) -> str:
    if answer.status_code == httpx.codes.BAD_REQUEST:
        raise Refused(answer.json()["error"]["message"])
    if answer.status_code != httpx.codes.OK:
        raise BenchFailed(f"the service answered {answer.status_code}: {answer.text[:300]}")
    return str(answer.json()["text"])


def _events(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    for line in lines:
        if line.startswith("data:"):
            event = json.loads(line.removeprefix("data:"))
            if "error" in event:
                raise BenchFailed(f"the service ended a stream with {event['error']}")
            yield event
