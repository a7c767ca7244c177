from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.chaos.evidence import failed
from benchmarks.soak.clients import Client, Deed, Ledger
from benchmarks.soak.evidence import Evidence, checks, percentile
from benchmarks.soak.probe import Probe

WELL = Probe(200, at_s=0.0, took_s=0.02, late_s=0.001)
LEDGER = Ledger(
    answers=Counter({(Deed.TRANSCRIBE, 200): 5, (Deed.TRANSCRIBE, 503): 1}), jobs={"a": False, "b": True}, streams=2
)
SOUND = Evidence(
    ledger=LEDGER,
    ends={"a": "done", "b": "cancelled"},
    probes=[WELL] * 99 + [Probe(200, at_s=0.0, took_s=5.0, late_s=0.0)],
    memory=[{"Gateway": 80}] + [{"Gateway": 100, "Pipeline": 100}] * 9,
)
PROMPT = "99 of 100 times /health takes less than 200 ms"
FLAT = "memory grows by at most 5%"
JOBS = "every job that was accepted is done, or cancelled by its client"


def test_run_of_a_service_that_stays_well_passes_every_check() -> None:
    assert failed(checks(SOUND)) == []


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("answers are well, or 429 or 503 with Retry-After", {"ledger": replace(LEDGER, broken=["transcribe: 500"])}),
        (JOBS, {"ends": {"a": "cancelled", "b": "cancelled"}}),
        (JOBS, {"ends": {"a": "done", "b": "failed"}}),
        (JOBS, {"ends": {"b": "done"}}),
        ("streams reach their end", {"ledger": replace(LEDGER, streams=0)}),
        ("/health is 200", {"probes": [*SOUND.probes, Probe(503, at_s=0.0, took_s=0.01, late_s=0.0)]}),
        (PROMPT, {"probes": [WELL] * 98 + [Probe(200, at_s=0.0, took_s=0.25, late_s=0.0)] * 2}),
        (FLAT, {"memory": [*SOUND.memory[:8], *([{"Gateway": 121, "Pipeline": 100}] * 2)]}),
    ],
)
def test_each_bound_that_is_broken_is_found(name: str, change: dict[str, Any]) -> None:
    assert [check.name for check in failed(checks(replace(SOUND, **change)))] == [name]


def test_memory_that_grows_is_told_by_kind_of_process() -> None:
    grown = replace(SOUND, memory=[{"Gateway": 1e6}] * 8 + [{"Gateway": 2e6, "decoder": 1e6}] * 2)

    (check,) = failed(checks(grown))
    assert check.violations == ("Gateway: 1 → 2 MB", "decoder: 0 → 1 MB")


@pytest.mark.parametrize(("percent", "value"), [(99, 99), (50, 50), (100, 100)])
def test_percentile_is_one_of_the_values(percent: int, value: int) -> None:
    assert percentile([*range(1, 101)], percent) == value


def service(
    *, text: int = 200, headers: dict[str, str] | None = None, last: str = "transcript.text.done", end: str = "done"
) -> Callable[[httpx.Request], httpx.Response]:
    """Answers all that clients ask for; `text` is the status of transcriptions, and `last` and `end` what streams end with."""

    def answer(request: httpx.Request) -> httpx.Response:
        match request.method, request.url.path:
            case "POST", "/jobs":
                return httpx.Response(202, json={"job_id": "j1"})
            case "GET", "/jobs/j1/stream":
                return _stream({"type": "progress"}, {"type": end, "job": {"error": None}})
            case _, "/jobs/j1":
                return httpx.Response(200, json={"status": end})
            case _ if text != 200:
                return httpx.Response(text, headers=headers, json={"error": {"message": "no"}})
            case _ if b"stream" in request.content:
                return _stream({"type": "transcript.text.delta", "delta": "a"}, {"type": last})
        return httpx.Response(200, json={"text": "a"})

    return answer


def _stream(*events: dict[str, Any]) -> httpx.Response:
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, text=body)


class Crowd:
    """One client, of whom one deed is asked."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger()
        self.slept_s: list[float] = []
        self._recording = folder / "a.wav"
        self._recording.write_bytes(b"RIFF")

    async def do(self, deed: Deed, service: Callable[[httpx.Request], httpx.Response]) -> None:
        turns = iter([True])
        async with httpx.AsyncClient(base_url="http://soak", transport=httpx.MockTransport(service)) as http:
            client = Client(
                http,
                [self._recording],
                self.ledger,
                seed=1,
                going=lambda: next(turns, False),
                likely={deed: 1},
                sleep=self._sleep,
            )
            await client.work()

    async def _sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)


@pytest.fixture
def crowd(tmp_path: Path) -> Crowd:
    return Crowd(tmp_path)


@pytest.mark.parametrize("deed", list(Deed))
async def test_each_deed_is_well_where_the_service_is(crowd: Crowd, deed: Deed) -> None:
    await crowd.do(deed, service())

    assert crowd.ledger.broken == []
    assert crowd.ledger.jobs == ({"j1": deed is Deed.CANCEL} if "job" in deed else {})
    assert crowd.ledger.streams == (deed in (Deed.STREAM, Deed.FOLLOW, Deed.CANCEL))


@pytest.mark.parametrize("status", [429, 503])
async def test_refused_client_waits_as_long_as_it_is_told(crowd: Crowd, status: int) -> None:
    await crowd.do(Deed.TRANSCRIBE, service(text=status, headers={"Retry-After": "7"}))

    assert crowd.ledger.broken == []
    assert crowd.slept_s[-1] == 7


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
async def test_error_without_a_time_to_come_again_is_noted(crowd: Crowd, status: int) -> None:
    await crowd.do(Deed.TRANSCRIBE, service(text=status))

    assert crowd.ledger.broken == [f'transcribe: Broken {status}, Retry-After missing: {{"error":{{"message":"no"}}}}']


async def test_connection_that_is_lost_is_noted(crowd: Crowd) -> None:
    def hang_up(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("reset")

    await crowd.do(Deed.TRANSCRIBE, hang_up)

    assert crowd.ledger.broken == ["transcribe: ReadError reset"]


@pytest.mark.parametrize(
    ("deed", "lame"), [(Deed.STREAM, service(last="transcript.text.delta")), (Deed.FOLLOW, service(end="segment"))]
)
async def test_stream_that_ends_too_early_is_noted(
    crowd: Crowd, deed: Deed, lame: Callable[[httpx.Request], httpx.Response]
) -> None:
    await crowd.do(deed, lame)

    assert crowd.ledger.streams == 0
    assert len(crowd.ledger.broken) == 1
