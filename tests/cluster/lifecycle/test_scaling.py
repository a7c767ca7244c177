"""What Serve is told of how the recogniser scales; no cluster is started."""

from __future__ import annotations

from typing import Any

import pytest

from serve_app.app import LOOK_BACK_S, build_app


def scaling(**args: Any) -> Any:
    """The recogniser's autoscaling, None if it does not scale."""
    gateway = build_app(args)
    pipeline = gateway._bound_deployment.init_args[1]
    return pipeline._bound_deployment.init_args[1]._bound_deployment._deployment_config.autoscaling_config


def test_recogniser_does_not_scale_by_default() -> None:
    assert scaling() is None


def test_last_replica_goes_after_the_whole_ladder() -> None:
    config = scaling(recognizer={"min_replicas": 0}, lifecycle={"unload_after_s": 100, "zero_after_s": 130})

    assert config.min_replicas == 0
    assert config.downscale_to_zero_delay_s + LOOK_BACK_S == 130


def test_last_replica_goes_no_sooner_than_serve_can_tell_that_nothing_happens() -> None:
    config = scaling(recognizer={"min_replicas": 0}, lifecycle={"unload_after_s": 0, "zero_after_s": 0})

    assert config.downscale_to_zero_delay_s == 0


def test_last_replica_stays_where_the_ladder_never_ends() -> None:
    assert scaling(recognizer={"min_replicas": 0}, lifecycle={"zero_after_s": -1}) is None


@pytest.mark.parametrize(("preload", "initial"), [([], 0), (["tiny.en"], 1)])
def test_models_to_preload_bring_a_replica_up_at_the_start(preload: list[str], initial: int) -> None:
    assert scaling(recognizer={"min_replicas": 0}, preload=preload).initial_replicas == initial


def test_request_at_zero_is_seen_within_a_second() -> None:
    assert scaling(recognizer={"min_replicas": 0}).metrics_interval_s == 1
