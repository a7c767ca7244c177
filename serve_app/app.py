"""The composition root: from a config file's `args` to the application that Serve runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ray import serve
from ray.serve import Application

from serve_app.deployments import (
    COORDINATOR,
    CoordinatorReplica,
    GatewayReplica,
    PipelineReplica,
    RecognizerReplica,
)
from serve_app.settings import MAX_STREAMS, PipelineSettings, Settings, load_settings
from serve_app.settings.shares import chunks_of_a_recognizer

# Streams of events hold places for hours, in a Gateway and in the Coordinator; these are beside them, for all calls that end.
# They are many: `limits.max_requests` is what protects the service.
CALLS = 1000

COORDINATOR_CPUS = 0.1  # logical ones, for Ray to reserve

# Serve removes the newest replica first, however busy, and ends it by force after its default of 20 s.
LONGEST_REQUEST_S = 3600.0
LONGEST_CALL_S = 30.0

LOOK_BACK_S = 5.0  # the window in which Serve counts calls


def build_app(args: Mapping[str, Any]) -> Application:
    """
    Bind the deployments with options computed from the settings.

    The options are computed here, and not in the YAML's `deployments:`, because Serve replaces such blocks whole and ignores
    unknown keys.

    Raises:
        ConfigError: The settings are wrong.
    """
    return bound(load_settings(args), {})


def bound(settings: Settings, user_configs: Mapping[str, Mapping[str, Any]]) -> Application:
    """
    The same from settings that are loaded.

    Args:
        user_configs: By deployment, what of the settings may change while it runs; Serve takes it from a config file itself.
    """
    placement = settings.placement

    def live(deployment: str) -> Mapping[str, Any]:
        # Never None: for that Serve would tell replicas nothing, also when a config file had something and has no more.
        return user_configs.get(deployment, {})

    recognizer = serve.deployment(
        name="Recognizer",
        user_config=live("Recognizer"),
        ray_actor_options={
            "num_cpus": settings.recognizer.num_cpus,
            "num_gpus": settings.recognizer.num_gpus,
            "resources": placement.recognizer,
        },
        health_check_period_s=2,  # it takes three to have one replaced whose GPU failed, and its chunks wait for that
        max_ongoing_requests=chunks_of_a_recognizer(settings),
        **recognizer_scaling(settings),
    )(RecognizerReplica)
    pipeline = serve.deployment(
        name="Pipeline",
        user_config=live("Pipeline"),
        ray_actor_options={"num_cpus": settings.pipeline.num_cpus, "resources": placement.pipeline},
        max_surge_percent=settings.pipeline.max_surge_percent,
        max_ongoing_requests=CALLS,
        graceful_shutdown_timeout_s=LONGEST_REQUEST_S,
        **_pipeline_scaling(settings.pipeline),
    )(PipelineReplica)
    coordinator = serve.deployment(
        name=COORDINATOR,
        user_config=live(COORDINATOR),
        num_replicas=1,
        ray_actor_options={"num_cpus": COORDINATOR_CPUS, "resources": placement.coordinator},
        # While a new config comes in, the Gateways that stop still have their streams.
        max_ongoing_requests=2 * settings.gateway.replicas * MAX_STREAMS + CALLS,
        graceful_shutdown_wait_loop_s=0.5,
        # Its calls last no longer than a slice of events; what runs when it is ended by force is queued again.
        graceful_shutdown_timeout_s=LONGEST_CALL_S,
        health_check_period_s=5,
    )(CoordinatorReplica)
    gateway = serve.deployment(
        name="Gateway",
        user_config=live("Gateway"),
        num_replicas=settings.gateway.replicas,
        ray_actor_options={"num_cpus": settings.gateway.num_cpus, "resources": placement.gateway},
        max_surge_percent=settings.gateway.max_surge_percent,
        max_ongoing_requests=MAX_STREAMS + CALLS,
        graceful_shutdown_timeout_s=LONGEST_REQUEST_S,
        graceful_shutdown_wait_loop_s=0.5,
    )(GatewayReplica)
    recognizers = recognizer.bind(settings)
    pipelines = pipeline.bind(settings, recognizers)
    return gateway.bind(settings, pipelines, coordinator.bind(settings, pipelines, recognizers))


def recognizer_scaling(settings: Settings) -> dict[str, Any]:
    """What `serve.deployment` is told of the Recognizer's replicas."""
    recognizer, zero_after_s = settings.recognizer, settings.lifecycle.zeroes_after_s
    min_replicas = recognizer.min_replicas if math.isfinite(zero_after_s) else max(1, recognizer.min_replicas)
    if min_replicas == recognizer.max_replicas:
        return {"num_replicas": recognizer.max_replicas}
    return {
        "autoscaling_config": {
            "min_replicas": min_replicas,
            "initial_replicas": max(min_replicas, int(bool(settings.preload))),
            "max_replicas": recognizer.max_replicas,
            "target_ongoing_requests": 2 * recognizer.max_batch_size,
            "upscale_delay_s": 5,
            "downscale_delay_s": 60,
            # Serve begins to count when all of the window is without calls.
            **({"downscale_to_zero_delay_s": max(0.0, zero_after_s - LOOK_BACK_S)} if min_replicas == 0 else {}),
            "look_back_period_s": LOOK_BACK_S,
            "metrics_interval_s": 1,  # the default of 10 delays the start from zero by as much
        }
    }


def _pipeline_scaling(pipeline: PipelineSettings) -> dict[str, Any]:
    if pipeline.min_replicas == pipeline.max_replicas:
        return {"num_replicas": pipeline.max_replicas}
    return {
        "autoscaling_config": {
            "min_replicas": pipeline.min_replicas,
            "max_replicas": pipeline.max_replicas,
            "target_ongoing_requests": 8,
            "metrics_interval_s": 1,
            "look_back_period_s": LOOK_BACK_S,
        }
    }
