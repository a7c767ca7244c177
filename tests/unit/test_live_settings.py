"""What a running service can be told anew, without a restart."""

from __future__ import annotations

from typing import Any

import pytest

from serve_app.errors import ConfigError
from serve_app.settings import LIVE, Settings, load_settings, settings_paths, with_user_config


def test_user_config_takes_the_place_of_a_setting_and_leaves_the_rest() -> None:
    before = load_settings({"lifecycle": {"unload_after_s": 60, "max_models": 3}}, {})

    after = with_user_config(before, "Recognizer", {"lifecycle": {"unload_after_s": 50}})

    assert after.lifecycle.unload_after_s == 50
    assert after == before.model_copy(
        update={"lifecycle": before.lifecycle.model_copy(update={"unload_after_s": 50.0})}
    )


@pytest.mark.parametrize("nothing", [None, {}])
def test_no_user_config_is_the_settings_of_the_start(nothing: Any) -> None:
    assert with_user_config(Settings(), "Gateway", nothing) == Settings()


@pytest.mark.parametrize(
    ("deployment", "user_config", "says"),
    [
        ("Pipeline", {"limits": {"max_requests": 1}}, "limits.max_requests is none of log_level"),
        ("Gateway", {"limits": {"max_requests": 0}}, "limits.max_requests: Input should be greater than or equal to 1"),
        ("Recognizer", {"lifecycle": {"unload_after_s": -3}}, "lifecycle.unload_after_s: Input should be greater"),
        ("Recognizer", {"lifecycle": {"park_after_s": 900}}, "comes after unload_after_s"),
    ],
)
def test_what_cannot_change_live_is_refused_by_name(deployment: str, user_config: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=f"user_config of {deployment}") as refused:
        with_user_config(Settings(), deployment, user_config)

    assert says in refused.value.message


@pytest.mark.parametrize("deployment", ["Recognizer", "Coordinator"])
@pytest.mark.parametrize("unload_after_s", [3600, 60, -1])
def test_idle_time_that_moves_the_end_of_the_last_replica_is_refused(deployment: str, unload_after_s: float) -> None:
    to_zero = load_settings({"recognizer": {"min_replicas": 0}}, {})

    with pytest.raises(
        ConfigError, match=r"end of the last Recognizer from 360 to .* lifecycle\.zero_after_s"
    ) as refused:
        with_user_config(to_zero, deployment, {"lifecycle": {"unload_after_s": unload_after_s}})

    assert f"{unload_after_s} would move" in refused.value.message


def test_idle_time_may_change_where_the_end_of_the_last_replica_stands_or_none_ends() -> None:
    live = {"lifecycle": {"unload_after_s": 1800}}
    stands = load_settings({"recognizer": {"min_replicas": 0}, "lifecycle": {"zero_after_s": 1800}}, {})

    for settings in (stands, Settings()):
        assert with_user_config(settings, "Recognizer", live).lifecycle.unloads_after_s == 1800


def test_what_is_live_are_settings() -> None:
    assert frozenset().union(*LIVE.values()) <= settings_paths().keys()
