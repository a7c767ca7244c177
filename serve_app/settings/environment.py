"""The environment: which variables are settings, and the only reader and writer of `os.environ`."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serve_app.errors import ConfigError
from serve_app.settings.clients import LimitSettings
from serve_app.settings.paths import NESTING, PREFIX, SettingInfo, settings_paths

# Names that the replaced systems use, and the setting each stands for.
ALIASES: Mapping[str, str] = {
    "PORT": "http.port",
    "HOST": "http.host",
    "ENABLE_UI": "http.enable_ui",
    "DATA_DIR": "data_dir",
    "HF_HUB_OFFLINE": "offline",
    "WHISPER_MODEL": "default_model",
    "WHISPER__COMPUTE_TYPE": "recognizer.compute_type",
    "WHISPER__INFERENCE_DEVICE": "recognizer.device",
    "WHISPER__TTL": "lifecycle.unload_after_s",
    "STT_MODEL_TTL": "lifecycle.unload_after_s",
    "IDLE_TIMEOUT_SECS": "lifecycle.unload_after_s",
    "GPU_POLL_INTERVAL_SECS": "lifecycle.gpu_poll_interval_s",
    "RUST_LOG": "log_level",
}

MODEL_PATH = "WHISPER_MODEL_PATH"  # of a replaced system: the directory of the default model

# Read by the commands that are clients of a service.
CLIENT = frozenset({"RAYSCRIBE_URL", "RAYSCRIBE_API_KEY"})

_SERVICE_LINK = re.compile(r"_(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)$")


def environment(given: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """What was given, or this process's own."""
    return os.environ if given is None else given


def overrides(env: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    """
    The settings that the environment holds: by path, the variable and its value.

    Raises:
        ConfigError: A name with the prefix is unknown, a value is not JSON where it must be, or two names of one setting differ.
    """
    known = settings_paths()
    found: dict[str, tuple[str, str]] = {}
    for name, value in sorted(env.items()):
        path = _path_of(name, known)
        if path is None:
            continue
        other = found.setdefault(path, (name, value))
        if other[1] != value:
            raise ConfigError(f"{other[0]} and {name} both set {path}, to different values: remove one")
    return {path: (name, _normalised(known[path], name, value)) for path, (name, value) in found.items()}


def _path_of(name: str, known: Mapping[str, SettingInfo]) -> str | None:
    if name in ALIASES:
        return ALIASES[name]
    if not name.startswith(PREFIX):
        return None
    path = name.removeprefix(PREFIX).lower().replace(NESTING, ".")
    if path in known:
        return path
    linked = NESTING not in name and _SERVICE_LINK.search(name)
    if linked or name in CLIENT or name in _secrets(known):
        return None
    names = [info.variable for info in known.values()]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0)
    raise ConfigError(f"{name} is not a setting; the nearest is {near[0]}")


def _secrets(known: Mapping[str, SettingInfo]) -> set[Any]:
    """Variables that a setting names by default; `access.py` reads them."""
    return {info.default for path, info in known.items() if path.endswith("_env")}


def _normalised(info: SettingInfo, name: str, value: str) -> Any:
    if info.path == "log_level":
        return _level(value)
    if info.path == "recognizer.compute_type" and value == "default":
        return "auto"  # the word of a replaced system
    if isinstance(info.default, (list, dict)):
        return _json(info, name, value)
    return value


def _level(value: str) -> str:
    """Of what Rust's logging takes: `info`, or directives such as `tower_http=debug,info`."""
    directives = value.split(",")
    level = next((one for one in directives if "=" not in one), directives[0]).rpartition("=")[2].strip().upper()
    return {"WARN": "WARNING"}.get(level, level)


def _json(info: SettingInfo, name: str, value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError as error:
        example = '["a", "b"]' if isinstance(info.default, list) else '{"a": "b"}'
        raise ConfigError(f"{name} ({info.path}) must be JSON, such as {example}: {error}") from error


def model_path(env: Mapping[str, str]) -> Path | None:
    """
    The directory of the default model, if the environment names one.

    Raises:
        ConfigError: It is a GGML file, or no absolute path.
    """
    value = env.get(MODEL_PATH, "").strip()
    if not value:
        return None
    if value.endswith((".bin", ".gguf", ".ggml")):
        raise ConfigError(
            f"{MODEL_PATH} is the file {value}; rayscribe runs CTranslate2 models, which are directories, and no GGML files."
            " Unset it and run `rayscribe models pull Systran/faster-whisper-large-v3`, or set it to the directory of a"
            " model that `ct2-transformers-converter` made"
        )
    if not Path(value).is_absolute():
        raise ConfigError(f"{MODEL_PATH} is {value}; it must be the absolute path of a directory")
    return Path(value)


def upload_limit_bytes(env: Mapping[str, str] | None = None) -> int:
    """
    `limits.max_upload_bytes` as the environment has it.

    For Serve's proxy, which has no config file: to it the rest of a valid environment may look like mistakes.
    """
    name = settings_paths()["limits.max_upload_bytes"].variable
    return int(environment(env).get(name, LimitSettings().max_upload_bytes))


def uploads_limit_bytes(env: Mapping[str, str] | None = None) -> int:
    """`limits.max_uploads_bytes` as the environment has it; likewise."""
    name = settings_paths()["limits.max_uploads_bytes"].variable
    return int(environment(env).get(name, LimitSettings().max_uploads_bytes))


def ray_auth_mode(env: Mapping[str, str] | None = None) -> str | None:
    """Whether Ray asks for a token (`token`, `disabled`); None if the environment does not say."""
    value = environment(env).get("RAY_AUTH_MODE")
    return None if value is None else value.lower()


def ray_has_token(env: Mapping[str, str] | None = None) -> bool:
    """Whether the environment says which token, or where it is."""
    return any(environment(env).get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))


def export(values: Mapping[str, str]) -> None:
    """Give processes that this one starts environment variables; a name that is set already keeps its value."""
    for name, value in values.items():
        os.environ.setdefault(name, value)
