"""The settings: order of sources, and errors that say what to mend."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.errors import ConfigError
from serve_app.settings import (
    ALIASES,
    ApiKey,
    AuthSettings,
    ComputeType,
    ModelSettings,
    Scope,
    Settings,
    check_listen,
    is_local_only,
    load_settings,
    read_api_keys,
    settings_paths,
    upload_limit_bytes,
)


def test_environment_wins_over_the_file() -> None:
    settings = load_settings({"limits": {"max_audio_s": 10}}, {"RAYSCRIBE_LIMITS__MAX_AUDIO_S": "20"})

    assert settings.limits.max_audio_s == 20


def test_file_wins_over_the_default() -> None:
    assert load_settings({"limits": {"max_audio_s": 10}}, {}).limits.max_audio_s == 10


@pytest.mark.parametrize(
    ("args", "env", "says"),
    [
        ({"http": {"prt": 1}}, {}, "http.prt is not a setting; the nearest is http.port"),
        ({}, {"RAYSCRIBE_HTTP__PRT": "1"}, "RAYSCRIBE_HTTP__PRT is not a setting; the nearest is RAYSCRIBE_HTTP__PORT"),
        ({}, {"PORT": "1", "RAYSCRIBE_HTTP__PORT": "2"}, "PORT and RAYSCRIBE_HTTP__PORT both set http.port"),
        ({"default_model": "x"}, {}, "default_model names 'x', which is not in models (tiny.en)"),
        ({"aliases": {"tiny.en": ""}}, {}, "tiny.en is both a model id and an alias"),
        ({"default_model": "x"}, {}, "add it there, or name one of these, a name that everyone knows (large-v3)"),
        ({"aliases": {"a": "large-v3"}}, {}, "which is not in models (tiny.en): add it there, or name one of these"),
        ({}, {"RAYSCRIBE_HTP__PORT": "1"}, "RAYSCRIBE_HTP__PORT is not a setting; the nearest is RAYSCRIBE_HTTP__PORT"),
        ({}, {"RAYSCRIBE_PRELOAD": "tiny.en"}, 'RAYSCRIBE_PRELOAD (preload) must be JSON, such as ["a", "b"]'),
        ({}, {"RAYSCRIBE_ALIASES": "a"}, 'RAYSCRIBE_ALIASES (aliases) must be JSON, such as {"a": "b"}'),
        ({"http.port": 1}, {}, "http.port must be nested: write `port` below `http:`"),
        ({"recognizer": 3}, {}, "recognizer: must be a mapping of names to values"),
        ({"aliases": 3}, {}, "aliases: must be a mapping of names to values"),
        ({"preload": "tiny.en"}, {}, "preload: must be a list"),
        ({"models": {"m": {"source": "/models/ggml-large-v3.bin"}}, "default_model": "m"}, {}, "is a GGML file"),
        (
            {
                "models": {"a": {"source": "/a"}, "b": {"source": "/b"}},
                "default_model": "a",
                "preload": ["a", "b"],
                "lifecycle": {"max_models": 1},
            },
            {},
            "preload names 2 models and lifecycle.max_models is 1: raise that, or name fewer",
        ),
        ({"recognizer": {"min_replicas": 3}}, {}, "min_replicas (3) is more than max_replicas (1)"),
        ({"http": {"port": 0}}, {}, "http.port: Input should be greater than or equal to 1"),
        ({}, {"PORT": "http"}, "PORT (http.port): Input should be a valid integer"),
    ],
)
def test_mistake_is_named_with_its_remedy(args: dict[str, Any], env: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(args, env)

    assert says in refused.value.message


@pytest.mark.parametrize(
    "name", ["RAYSCRIBE_SERVICE_HOST", "RAYSCRIBE_PORT_8000_TCP_ADDR", "RAYSCRIBE_SERVICE_PORT_HTTP"]
)
def test_service_links_of_kubernetes_are_ignored(name: str) -> None:
    assert load_settings({}, {name: "10.0.0.1"}) == Settings()


@pytest.mark.parametrize("name", ["RAYSCRIBE_URL", "RAYSCRIBE_API_KEY", "RAYSCRIBE_DATABASE_URL"])
def test_variables_that_others_read_are_no_mistake(name: str) -> None:
    assert load_settings({}, {name: "x"}) == Settings()


@pytest.mark.parametrize(("name", "path"), ALIASES.items())
def test_alias_stands_for_a_setting(name: str, path: str) -> None:
    assert path in settings_paths()


def test_each_setting_is_described() -> None:
    assert [info.path for info in settings_paths().values() if not info.description] == []


@pytest.mark.parametrize("value", ["warn", "warn,tower=debug", "tower=debug,warn", "tower=warn,hyper=debug"])
def test_log_level_of_the_replaced_system_is_understood(value: str) -> None:
    assert load_settings({}, {"RUST_LOG": value}).log_level == "WARNING"


def test_compute_type_that_the_replaced_server_calls_default_is_auto() -> None:
    assert load_settings({}, {"WHISPER__COMPUTE_TYPE": "default"}).recognizer.compute_type == ComputeType.AUTO


def test_alias_of_a_model_resolves_to_the_default_model() -> None:
    assert Settings().resolve_model("whisper-1") == "tiny.en"
    assert Settings().resolve_model("tiny.en") == "tiny.en"
    assert Settings().resolve_model("gpt-4o") is None


@pytest.mark.parametrize("given", ["s3://bucket/in", "s3://bucket/in/"])
def test_readable_prefix_ends_where_a_folder_does(given: str) -> None:
    settings = load_settings({}, {"RAYSCRIBE_MEDIA__READABLE": f'["{given}"]'})

    assert settings.media.readable == ("s3://bucket/in/",)


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "/data",
        "https://bucket/in",
        "s3://",
        "s3:///in/",
        "s3://bucket//in/",
        "s3://bucket/in//",
        "s3://bucket/../in/",
    ],
)
def test_readable_prefix_without_a_bucket_or_in_disorder_is_a_mistake(prefix: str) -> None:
    with pytest.raises(ConfigError, match="does not look like s3://bucket/prefix/"):
        load_settings({"media": {"readable": [prefix]}}, {})


@pytest.mark.parametrize(
    ("store", "readable"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/media/", "s3://bucket/media"),
        ("s3://bucket/media/of/jobs", "s3://bucket/media/"),
    ],
)
def test_audio_of_all_jobs_is_never_readable(store: str, readable: str) -> None:
    with pytest.raises(ConfigError, match="with the audio of all clients"):
        load_settings({"media": {"store": store, "readable": [readable]}}, {})


def test_readable_prefix_may_lie_beside_or_beneath_the_store() -> None:
    for store in ("s3://bucket", "s3://bucket/incoming2", "/var/media"):
        load_settings({"media": {"store": store, "readable": ["s3://bucket/incoming"]}}, {})


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=12) | st.integers() | st.none(), max_size=4))
def test_whatever_the_file_holds_the_outcome_is_settings_or_one_error(args: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigError):
        load_settings(args, {})


def test_keys_come_from_the_variable_and_the_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("c\nd\n")

    keys = read_api_keys(AuthSettings(api_key_file=str(file)), {"API_KEY": "a, b"})

    assert keys == tuple(map(ApiKey, "abcd"))


def test_admin_keys_come_from_their_own_variable_and_file(tmp_path: Path) -> None:
    file = tmp_path / "admins"
    file.write_text("d\n")

    keys = read_api_keys(AuthSettings(admin_key_file=str(file)), {"API_KEY": "a b", "ADMIN_API_KEY": "b,c"})

    assert {key.secret: key.may(Scope.ADMIN) for key in keys} == {"a": False, "b": True, "c": True, "d": True}


def test_missing_key_file_is_an_error_and_not_an_open_door() -> None:
    with pytest.raises(ConfigError):
        read_api_keys(AuthSettings(api_key_file="/no/such/file"), {})


def test_empty_key_file_is_an_error_and_not_an_open_door(tmp_path: Path) -> None:
    empty = tmp_path / "keys"
    empty.touch()

    with pytest.raises(ConfigError, match="holds no key"):
        read_api_keys(AuthSettings(api_key_file=str(empty)), {})


def test_mode_none_reads_no_key() -> None:
    assert read_api_keys(AuthSettings(mode="none"), {"API_KEY": "a", "ADMIN_API_KEY": "b"}) == ()


def test_empty_file_of_admin_keys_is_an_error_although_there_are_others(tmp_path: Path) -> None:
    empty = tmp_path / "admins"
    empty.touch()

    with pytest.raises(ConfigError, match="admin_key_file holds no key"):
        read_api_keys(AuthSettings(admin_key_file=str(empty)), {"API_KEY": "a"})


@pytest.mark.parametrize(
    ("host", "has_keys", "mode", "allowed"),
    [
        ("127.0.0.1", False, "auto", True),
        ("localhost", False, "auto", True),
        ("::1", False, "auto", True),
        ("0.0.0.0", False, "auto", False),
        ("0.0.0.0", True, "auto", True),
        ("0.0.0.0", False, "none", True),
    ],
)
def test_strangers_are_served_only_on_purpose(host: str, has_keys: bool, mode: str, allowed: bool) -> None:
    settings = load_settings({"http": {"host": host}, "auth": {"mode": mode}}, {})

    if allowed:
        check_listen(settings, has_keys=has_keys)
    else:
        with pytest.raises(ConfigError):
            check_listen(settings, has_keys=has_keys)


@pytest.mark.parametrize(
    ("host", "has_keys", "mode", "local"),
    [
        ("127.0.0.1", False, "auto", True),
        ("127.0.0.1", True, "auto", False),
        ("127.0.0.1", False, "none", False),  # whoever says so may have a proxy in front
        ("0.0.0.0", False, "none", False),
    ],
)
def test_service_without_a_key_on_loopback_is_for_this_machine(
    host: str, has_keys: bool, mode: str, local: bool
) -> None:
    settings = load_settings({"http": {"host": host}, "auth": {"mode": mode}}, {})

    assert is_local_only(settings, has_keys=has_keys) is local


def test_section_left_empty_means_its_defaults() -> None:
    assert load_settings({"recognizer": None}, {"RAYSCRIBE_RECOGNIZER__THREADS": "3"}).recognizer.threads == 3


def test_upload_limit_is_read_beside_variables_that_need_a_config_file() -> None:
    env = {"WHISPER_MODEL": "large-v3", "RAYSCRIBE_LIMITS__MAX_UPLOAD_BYTES": "5"}

    assert upload_limit_bytes(env) == 5


@pytest.mark.parametrize(
    "ladder",
    [
        {"park_after_s": 10, "unload_after_s": 5},
        {"unload_after_s": 300, "zero_after_s": 200},
        {"unload_after_s": -1, "zero_after_s": 600},
        {"unload_after_s": -0.5},
    ],
)
def test_idle_ladder_of_another_order_is_refused(ladder: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="lifecycle"):
        load_settings({"lifecycle": ladder}, {})


def test_steps_of_the_ladder_that_are_not_set_follow_the_one_that_is() -> None:
    at_once = load_settings({}, {"WHISPER__TTL": "0"}).lifecycle
    never = load_settings({}, {"STT_MODEL_TTL": "-1"}).lifecycle

    assert (at_once.parks_after_s, at_once.unloads_after_s, at_once.zeroes_after_s) == (0, 0, 60)
    assert (never.parks_after_s, never.unloads_after_s, never.zeroes_after_s) == (math.inf,) * 3


def test_model_path_of_the_replaced_system_is_where_the_default_model_lies() -> None:
    env = {"WHISPER_MODEL": "large-v3", "WHISPER_MODEL_PATH": "/models/large"}
    settings = load_settings({}, env)
    named_by_the_file = load_settings(
        {"models": {"m": {"source": "some/model", "revision": "v1", "languages": ["de"]}}, "default_model": "m"},
        {"WHISPER_MODEL_PATH": "/models/large"},
    )

    assert (settings.default_model, settings.models["large-v3"].source) == ("large-v3", "/models/large")
    assert "tiny.en" in settings.models
    assert named_by_the_file.models["m"] == ModelSettings(source="/models/large", languages=("de",))


def test_model_path_names_a_model_that_has_no_other_name() -> None:
    settings = load_settings({}, {"WHISPER_MODEL_PATH": "/models/large-v3-de"})

    assert settings.default_model == "large-v3-de"
    assert settings.models["large-v3-de"].source == "/models/large-v3-de"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (
            "/models/ggml-large-v3.bin",
            r"no GGML files\. Unset it and run `rayscribe models pull .*ct2-transformers-conv",
        ),
        ("models/large", "must be the absolute path of a directory"),
    ],
)
def test_model_path_that_is_no_directory_of_a_model_is_refused_with_the_way_to_one(path: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_settings({}, {"WHISPER_MODEL_PATH": path})


def test_well_known_model_and_repository_need_no_entry() -> None:
    settings = load_settings({"preload": ["Systran/faster-whisper-small"]}, {"WHISPER_MODEL": "large-v3"})

    assert settings.models["large-v3"].source == "Systran/faster-whisper-large-v3"
    assert settings.models["Systran/faster-whisper-small"].source == "Systran/faster-whisper-small"
    assert "tiny.en" in settings.models


def test_entry_of_the_catalogue_wins_over_what_is_well_known() -> None:
    settings = load_settings({"models": {"large-v3": {"source": "/models/mine"}}, "default_model": "large-v3"}, {})

    assert settings.models["large-v3"].source == "/models/mine"


def test_model_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"default_model names 'larg-v3'.*which is not in models"):
        load_settings({}, {"WHISPER_MODEL": "larg-v3"})
