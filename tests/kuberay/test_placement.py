"""What Serve is told of where replicas run and how they are replaced; no cluster is started."""

from __future__ import annotations

import pytest

from serve_app.settings import load_settings
from tests.kuberay.manifests import deployments

DEPLOYMENTS = ("Gateway", "Pipeline", "Coordinator", "Recognizer")


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_each_deployment_takes_the_custom_resources_that_the_settings_name(name: str) -> None:
    found = deployments({"placement": {name.lower(): {"cpu_node": 0.01}}})

    assert {other: d.ray_actor_options.get("resources") or {} for other, d in found.items()} == {
        other: {"cpu_node": 0.01} if other == name else {} for other in DEPLOYMENTS
    }


@pytest.mark.parametrize("name", ["Gateway", "Pipeline"])
def test_what_clients_wait_for_starts_before_it_stops(name: str) -> None:
    assert deployments({})[name]._deployment_config.max_surge_percent == 25


@pytest.mark.parametrize("name", ["Gateway", "Pipeline"])
def test_surge_is_a_setting(name: str) -> None:
    found = deployments({name.lower(): {"max_surge_percent": 100}})

    assert found[name]._deployment_config.max_surge_percent == 100


@pytest.mark.parametrize("name", ["Coordinator", "Recognizer"])
def test_what_there_is_one_of_stops_before_it_starts(name: str) -> None:
    assert deployments({})[name]._deployment_config.max_surge_percent == 0


def test_placement_comes_from_the_environment_as_json() -> None:
    settings = load_settings({}, {"RAYSCRIBE_PLACEMENT__GATEWAY": '{"cpu_node": 0.01}'})

    assert settings.placement.gateway == {"cpu_node": 0.01}
