"""
What replicas do with a `user_config`: each live setting has its effect, and loses it when it is taken out again.

Only `reconfigure` runs, on what stands in for replicas, because their constructors ask Ray.
"""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serve_app.api.limits import RequestLimiter
from serve_app.deployments import (
    CoordinatorReplica,
    GatewayReplica,
    PipelineReplica,
    RecognizerReplica,
    coordinator_replica,
    gateway_replica,
    pipeline_replica,
    recognizer_replica,
)
from serve_app.errors import Overloaded, RateLimited
from serve_app.settings import LIVE, Settings
from serve_app.settings.lifecycle import LifecycleSettings
from tests.service.api.job_house import House
from tests.unit.lifecycle.world import A, World

REPLICAS: dict[str, Any] = {
    "Gateway": GatewayReplica,
    "Pipeline": PipelineReplica,
    "Coordinator": CoordinatorReplica,
    "Recognizer": RecognizerReplica,
}


class Keeper:
    """Has the rules that it was given last."""

    def __init__(self) -> None:
        self.rules = LifecycleSettings()

    def change_rules(self, rules: LifecycleSettings) -> None:
        self.rules = rules


@pytest.fixture(autouse=True)
def levels(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """That logging was given: it would ask Ray who logs."""
    given: list[str] = []
    for module in (gateway_replica, pipeline_replica, coordinator_replica, recognizer_replica):
        monkeypatch.setattr(module, "configure_logging", lambda settings: given.append(settings.log_level))
    return given


@pytest.fixture
def parts(tmp_path: Path) -> SimpleNamespace:
    """What replicas of any kind are made of."""
    return SimpleNamespace(
        _settings=Settings(),
        _app=House(tmp_path).app,
        _registry=World().registry,
        _recognizer=SimpleNamespace(models=Keeper()),
    )


def places(limiter: RequestLimiter, key: str | None = None) -> int:
    """How many requests are let in at once."""
    with ExitStack() as held:
        for n in range(100):
            try:
                held.enter_context(limiter.place(key))
            except (Overloaded, RateLimited):
                return n
    return 100


@pytest.mark.parametrize("deployment", LIVE)
async def test_log_level_changes_in_each_deployment(parts: SimpleNamespace, levels: list[str], deployment: str) -> None:
    for user_config in ({"log_level": "DEBUG"}, {}):
        await REPLICAS[deployment].reconfigure(parts, user_config)

    assert levels == ["DEBUG", "INFO"]


async def test_gateway_lets_as_many_requests_in_as_it_is_told_to(parts: SimpleNamespace) -> None:
    limiter = parts._app.state.limiter
    found = []
    for limits in ({"max_requests": 5, "max_requests_per_key": 2}, {"max_requests": 7}, {}):
        await GatewayReplica.reconfigure(parts, {"limits": limits})
        found.append((places(limiter), places(limiter, "ada")))

    assert found == [(5, 2), (7, 7), (64, 64)]


async def test_gateway_lets_a_key_begin_as_many_requests_a_minute_as_it_is_told_to(parts: SimpleNamespace) -> None:
    found = []
    for per_minute in (3, 0):
        await GatewayReplica.reconfigure(parts, {"limits": {"requests_per_minute_per_key": per_minute}})
        allowance = parts._app.state.rates.take("ada")
        found.append(allowance and allowance.limit)

    assert found == [3, None]


async def test_recognizer_keeps_models_by_the_times_that_it_is_told(parts: SimpleNamespace) -> None:
    keeper, found = parts._recognizer.models, []
    for times in ({"park_after_s": 20, "unload_after_s": 90}, {}):
        await RecognizerReplica.reconfigure(parts, {"lifecycle": times})
        found.append((keeper.rules.parks_after_s, keeper.rules.unloads_after_s))

    assert found == [(20, 90), (60, 300)]


async def test_coordinator_tells_until_when_a_model_stays_by_the_times_that_it_is_told() -> None:
    world, found = World(), []
    await world.registry.load(A, ttl_s=None)
    parts: Any = SimpleNamespace(_settings=Settings(), _registry=world.registry)
    for times in ({"unload_after_s": 90}, {}):
        await CoordinatorReplica.reconfigure(parts, {"lifecycle": times})
        found.append((await world.registry.overview(A)).pinned_until)

    now = world.clock.utc()
    assert found == [now + timedelta(seconds=90), now + timedelta(seconds=300)]
