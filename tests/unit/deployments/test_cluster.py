from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest
from ray import serve
from ray.exceptions import GetTimeoutError
from ray.serve.schema import ApplicationStatus

from serve_app.deployments.cluster import Readiness


async def test_controller_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answers = [], threading.Event()

    def status() -> object:
        asked.append(1)
        answers.wait()
        return SimpleNamespace(applications={"app": SimpleNamespace(status=ApplicationStatus.RUNNING)})

    monkeypatch.setattr(serve, "status", status)
    ready = Readiness("app")
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await ready()
    answers.set()

    assert await ready()
    assert len(asked) == 1


async def test_controller_that_is_away_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def status() -> object:
        raise GetTimeoutError

    monkeypatch.setattr(serve, "status", status)

    with pytest.raises(GetTimeoutError):
        await Readiness("app")()
