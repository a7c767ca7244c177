"""How API keys are written, whose each is and what it may do."""

from __future__ import annotations

import pytest

from serve_app.errors import ConfigError
from serve_app.settings import ApiKey, AuthSettings, Scope, read_api_keys


def read(own: str, admin: str = "") -> dict[str, ApiKey]:
    keys = read_api_keys(AuthSettings(), {"API_KEY": own, "ADMIN_API_KEY": admin})
    return {key.secret: key for key in keys}


def scopes(key: ApiKey) -> set[str]:
    return {scope.value for scope in Scope if key.may(scope)}


def test_key_alone_may_do_all_but_what_an_admin_may() -> None:
    key = read("sk-one")["sk-one"]

    assert (scopes(key), key.names_scopes) == ({"transcribe", "jobs", "models"}, False)


@pytest.mark.parametrize(
    ("written", "may"),
    [
        ("app:transcribe:sk-one", {"transcribe"}),
        ("batch.night:jobs:sk-one", {"jobs"}),
        ("both:transcribe+jobs:sk-one", {"transcribe", "jobs"}),
        ("loader:models:sk-one", {"models"}),
        ("ops:admin:sk-one", {"transcribe", "jobs", "models", "admin"}),
    ],
)
def test_named_key_has_the_scopes_that_it_names(written: str, may: set[str]) -> None:
    key = read(written)["sk-one"]

    assert (scopes(key), key.names_scopes) == (may, True)
    assert key.name == written.split(":")[0]


def test_named_and_bare_keys_stand_side_by_side() -> None:
    keys = read("sk-one, app:jobs:sk-two\nsk-three", "sk-root")

    assert {secret: len(scopes(key)) for secret, key in keys.items()} == {
        "sk-one": 3,
        "sk-two": 1,
        "sk-three": 3,
        "sk-root": 4,
    }


def test_key_that_stands_twice_has_all_that_it_was_given() -> None:
    key = read("sk-one app:jobs:sk-one", "sk-one")["sk-one"]

    assert (scopes(key), key.name) == ({"transcribe", "jobs", "models", "admin"}, "app")


def test_key_with_a_colon_is_no_named_one() -> None:
    assert [*read("user:password")] == ["user:password"]


@pytest.mark.parametrize("written", ["app:transcrib:sk-hidden", "app::sk-hidden", "app:jobs+:sk-hidden", "sk:hid:den"])
def test_unknown_scope_is_refused_without_a_word_of_the_key(written: str) -> None:
    with pytest.raises(
        ConfigError, match=r"API_KEY, entry 2 looks like NAME:SCOPES:KEY.*transcribe, jobs, models or admin"
    ) as e:
        read(f"sk-one {written}")

    assert "hid" not in e.value.message
    assert e.value.__suppress_context__


def test_keys_of_one_name_are_one_client_and_bare_keys_are_each_their_own() -> None:
    keys = read("app:jobs:old app:jobs:new sk-one sk-two app")
    owners = {secret: key.owner for secret, key in keys.items()}

    assert owners["old"] == owners["new"]
    assert len({*owners.values()}) == 4


def test_no_printout_of_a_key_shows_it() -> None:
    key = ApiKey("sk-hidden", name="app")

    assert "hidden" not in f"{key!r} {key} {[key]}"
    assert "hidden" not in key.owner
