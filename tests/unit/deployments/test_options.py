"""What Serve is told of the deployments."""

from __future__ import annotations

from typing import Any

import pytest

from serve_app.api import application
from serve_app.app import bound, build_app
from serve_app.settings import load_settings


def deployments(gateway: Any) -> dict[str, Any]:
    _, pipeline, coordinator = gateway._bound_deployment.init_args
    _, recognizer = pipeline._bound_deployment.init_args
    found = [app._bound_deployment for app in (gateway, pipeline, coordinator, recognizer)]
    return {deployment.name: deployment for deployment in found}


def test_each_deployment_is_told_something_so_that_it_is_told_when_that_is_taken_back() -> None:
    found = deployments(bound(load_settings({}, {}), {"Gateway": {"log_level": "DEBUG"}}))

    assert {name: deployment.user_config for name, deployment in found.items()} == {
        "Gateway": {"log_level": "DEBUG"},
        "Pipeline": {},
        "Coordinator": {},
        "Recognizer": {},
    }


@pytest.mark.parametrize("gateways", [1, 3])
def test_all_streams_that_there_may_be_leave_places_for_calls(gateways: int) -> None:
    found = deployments(build_app({"gateway": {"replicas": gateways}}))
    streams = application.MAX_STREAMS

    assert found["Gateway"].max_ongoing_requests >= streams + 1000
    assert found["Coordinator"].max_ongoing_requests >= 2 * gateways * streams + 1000, (
        "they double while it is replaced"
    )
