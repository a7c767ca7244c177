"""Clients that do at random what clients do, and note what comes of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import httpx
from httpx_sse import EventSource

from tests.cluster.job_client import ENDED, UNSAMPLED
from tests.cluster.running import KEY

ROUTE = "/v1/audio/transcriptions"
REFUSALS = frozenset({429, 503})
PATIENCE_S = 300.0  # with one answer
JOB_PATIENCE_S = 900.0  # requests go before jobs, eight batches to one
POLL_S = 1.0
ARRIVING_S = 10.0  # within which the clients come, the first time
HASTE_S = 3.0  # a client that cancels or goes away does so within this
LAST_DELTA = "transcript.text.done"


class Deed(StrEnum):
    TRANSCRIBE = "transcribe"
    STREAM = "stream a transcript"
    LEAVE = "leave before the answer"
    FOLLOW = "follow a job"
    POLL = "poll a job"
    CANCEL = "cancel a job"


LIKELY = {Deed.TRANSCRIBE: 6, Deed.STREAM: 4, Deed.LEAVE: 2, Deed.FOLLOW: 4, Deed.POLL: 2, Deed.CANCEL: 2}


class Refused(Exception):
    """The service is busy, and said when to come again."""

    def __init__(self, after_s: float) -> None:
        self.after_s = after_s


class Broken(Exception):
    """The service did what it must not; the text says what."""


@dataclass
class Ledger:
    """What all clients together saw."""

    answers: Counter[tuple[Deed, int]] = field(default_factory=Counter)  # by status
    jobs: dict[str, bool] = field(default_factory=dict)  # accepted ones; whether their client asked for their end
    streams: int = 0  # that reached their end
    broken: list[str] = field(default_factory=list)


class Client:
    """
    Does one thing after the other.

    Args:
        seed: Decides what it does, with which recording, and when.
        going: Whether to begin another deed; what is begun is always brought to its end.
        likely: How common each deed is.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        recordings: Sequence[Path],
        ledger: Ledger,
        *,
        seed: int,
        going: Callable[[], bool],
        likely: Mapping[Deed, int] = LIKELY,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http = http
        self._recordings = [(path.name, path.read_bytes()) for path in recordings]
        self._ledger = ledger
        self._random = random.Random(seed)
        self._going = going
        self._likely = likely
        self._sleep = sleep
        self._deed = Deed.TRANSCRIBE

    async def work(self) -> None:
        await self._sleep(self._random.uniform(0, ARRIVING_S))
        while self._going():
            (self._deed,) = self._random.choices([*self._likely], [*self._likely.values()])
            try:
                await self._do()
            except Refused as refused:
                await self._sleep(refused.after_s)
            except (Broken, httpx.HTTPError, TimeoutError) as error:
                self._ledger.broken.append(f"{self._deed}: {type(error).__name__} {error}")

    async def _do(self) -> None:
        deeds: dict[Deed, Callable[[], Awaitable[None]]] = {
            Deed.TRANSCRIBE: self._transcribe,
            Deed.STREAM: self._stream,
            Deed.LEAVE: self._leave,
            Deed.FOLLOW: self._follow,
            Deed.POLL: self._poll,
            Deed.CANCEL: self._cancel,
        }
        await deeds[self._deed]()

    async def _transcribe(self) -> None:
        answer = await self._ask("POST", ROUTE, files={"file": self._recording()}, data={"model": "whisper-1"})
        if "text" not in answer.json():
            raise Broken(f"an answer without text: {answer.text[:100]}")

    async def _stream(self) -> None:
        form = {"model": "whisper-1", "stream": "true"}
        async with self._opened("POST", ROUTE, files={"file": self._recording()}, data=form) as events:
            last = await _last(events)
        if last != LAST_DELTA:
            raise Broken(f"a transcript's stream ended with {last}")
        self._ledger.streams += 1

    async def _leave(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._random.uniform(0, HASTE_S)):
                await self._transcribe()

    async def _follow(self) -> None:
        await self._see_end(await self._submit())

    async def _poll(self) -> None:
        job_id = await self._submit()
        async with asyncio.timeout(JOB_PATIENCE_S):
            while (await self._insist("GET", f"/jobs/{job_id}")).json()["status"] not in ENDED:
                await self._sleep(POLL_S)

    async def _cancel(self) -> None:
        job_id = await self._submit()
        await self._sleep(self._random.uniform(0, HASTE_S))
        self._ledger.jobs[job_id] = True
        await self._insist("DELETE", f"/jobs/{job_id}")
        await self._see_end(job_id)

    async def _submit(self) -> str:
        answer = await self._ask("POST", "/jobs", files={"audio": self._recording()}, data=UNSAMPLED)
        job_id = str(answer.json()["job_id"])
        self._ledger.jobs[job_id] = False
        return job_id

    async def _see_end(self, job_id: str) -> None:
        async with self._opened("GET", f"/jobs/{job_id}/stream") as events:
            last = await _last(events)
        if last not in ENDED:
            raise Broken(f"the stream of job {job_id} ended with {last}")
        self._ledger.streams += 1

    async def _insist(self, method: str, path: str) -> httpx.Response:
        """As often as it is refused."""
        while True:
            try:
                return await self._ask(method, path)
            except Refused as refused:
                await self._sleep(refused.after_s)

    async def _ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        answer = await self._http.request(method, path, **request)
        self._note(answer)
        return answer

    @contextlib.asynccontextmanager
    async def _opened(self, method: str, path: str, **request: Any) -> AsyncIterator[EventSource]:
        async with self._http.stream(method, path, **request) as answer:
            if answer.is_error:
                await answer.aread()
            self._note(answer)
            yield EventSource(answer)

    def _note(self, answer: httpx.Response) -> None:
        self._ledger.answers[self._deed, answer.status_code] += 1
        after = answer.headers.get("retry-after", "")
        if answer.status_code in REFUSALS and after.isdigit():
            raise Refused(float(after))
        if answer.is_error:
            raise Broken(f"{answer.status_code}, Retry-After {after or 'missing'}: {answer.text[:200]}")

    def _recording(self) -> tuple[str, bytes]:
        return self._random.choice(self._recordings)


async def _last(events: EventSource) -> str:
    """The type of the last event; of an error the error itself."""
    last = "nothing"
    async for event in events.aiter_sse():
        if event.data:
            told = json.loads(event.data)
            last = told.get("type") or str(told)
    return last


async def all_at_work(
    url: str, clients: int, recordings: Sequence[Path], *, seed: int, going: Callable[[], bool]
) -> Ledger:
    """Let so many clients work as long as `going` says, and finish what they have begun."""
    ledger = Ledger()
    async with httpx.AsyncClient(
        base_url=url,
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=PATIENCE_S,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        trust_env=False,
    ) as http:
        crowd = (Client(http, recordings, ledger, seed=seed * clients + n, going=going) for n in range(clients))
        await asyncio.gather(*(client.work() for client in crowd))
    return ledger
