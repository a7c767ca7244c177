"""The environment that Ray is started in."""

from __future__ import annotations

import os

import pytest

from serve_app.cli.ray_environment import guard_ray
from serve_app.errors import ConfigError

LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    values: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", values)
    return values


def test_each_start_has_a_token_of_its_own_and_listens_on_loopback(env: dict[str, str]) -> None:
    guard_ray()
    first = dict(env)
    env.clear()
    guard_ray()

    assert (first["RAY_AUTH_MODE"], first[LOOPBACK]) == ("token", "0")
    assert len(first["RAY_AUTH_TOKEN"]) == 64
    assert first["RAY_AUTH_TOKEN"] != env["RAY_AUTH_TOKEN"]


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_token_of_the_operator_is_kept(env: dict[str, str], name: str) -> None:
    env[name] = "mine"
    guard_ray()

    assert {key: value for key, value in env.items() if key.startswith("RAY_AUTH_TOKEN")} == {name: "mine"}


@pytest.mark.parametrize("mode", ["disabled", "", "none"])
def test_ray_without_a_token_is_refused(env: dict[str, str], mode: str) -> None:
    env["RAY_AUTH_MODE"] = mode

    with pytest.raises(ConfigError, match="can run code here: unset it"):
        guard_ray()
