"""What a running service can be told anew: Serve's `user_config`, of which a change restarts no replica."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from serve_app.errors import ConfigError
from serve_app.settings.tree import Settings

LIVE: Mapping[str, frozenset[str]] = {
    "Gateway": frozenset(
        {
            "log_level",
            "limits.max_requests",
            "limits.max_requests_per_key",
            "limits.requests_per_minute_per_key",
        }
    ),
    "Pipeline": frozenset({"log_level"}),
    # How long a model stays that was loaded for no time in particular is what the Recognizer heeds, and this tells.
    "Coordinator": frozenset({"log_level", "lifecycle.unload_after_s"}),
    "Recognizer": frozenset({"log_level", "lifecycle.park_after_s", "lifecycle.unload_after_s"}),
}
"""Deployment → settings that its replicas heed while they run."""


def with_user_config(settings: Settings, deployment: str, user_config: Mapping[str, Any] | None) -> Settings:
    """
    The settings with those of a `user_config` in their place; the tree of both is the same.

    Raises:
        ConfigError: It names something that the deployment heeds only when it starts, or a wrong value, or one that moves
            what Serve heeds only then.
    """
    wanted = dict(_paths(user_config or {}))
    if stiff := sorted(wanted.keys() - LIVE[deployment]):
        raise ConfigError(
            f"user_config of {deployment}: {stiff[0]} is none of {', '.join(sorted(LIVE[deployment]))};"
            " what else there is belongs in args"
        )
    tree = settings.model_dump()
    for path, value in wanted.items():
        section, _, name = path.rpartition(".")
        (tree[section] if section else tree)[name] = value
    try:
        live = Settings.model_validate(tree)
    except ValidationError as error:
        said = error.errors()[0]
        raise ConfigError(
            f"user_config of {deployment}: {'.'.join(map(str, said['loc']))}: {said['msg'].removeprefix('Value error, ')}"
        ) from error
    _check_zero(settings, live, deployment)
    return live


def _check_zero(settings: Settings, live: Settings, deployment: str) -> None:
    """The end of the last replica is Serve's to bring about, which is told of its time in the options of the deployment."""
    at_start_s, now_s = settings.lifecycle.zeroes_after_s, live.lifecycle.zeroes_after_s
    if settings.recognizer.min_replicas == 0 and now_s != at_start_s:
        raise ConfigError(
            f"user_config of {deployment}: lifecycle.unload_after_s: {live.lifecycle.unload_after_s:g} would move the end of"
            f" the last Recognizer from {at_start_s:g} to {now_s:g} s of idleness, which needs a restart: change it in args,"
            " or set lifecycle.zero_after_s there, so that it stays where it is"
        )


def _paths(tree: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found += [(f"{name}.{inner}", v) for inner, v in _paths(value)]
        else:
            found.append((name, value))
    return found
