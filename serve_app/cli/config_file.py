"""
Read a Serve config file more strictly than Serve does.

Serve ignores keys that it does not know, so a misspelt one changes nothing and says nothing. Here it is an error.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from serve_app.errors import ConfigError
from serve_app.settings import LIVE, Settings, load_settings, with_user_config

BUILDER = "serve_app.app:build_app"
# What is applied here; Serve knows more, and what would have no effect is refused.
TOP = ("proxy_location", "http_options", "logging_config", "tracing_config", "applications")
APPLICATION = ("name", "route_prefix", "import_path", "args", "deployments")
DEPLOYMENT = ("name", "user_config")
HTTP = ("host", "port", "root_path", "request_timeout_s", "keep_alive_timeout_s", "ssl_keyfile", "ssl_certfile")


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A config file, checked: what Serve needs, and the settings with the environment applied."""

    settings: Settings
    args: Mapping[str, Any]  # as `build_app` takes them; host and port are the effective ones
    http_options: Mapping[str, Any]
    logging_config: Mapping[str, Any]
    tracing_config: Mapping[str, Any]
    proxy_location: str
    name: str
    route_prefix: str
    user_configs: Mapping[str, Mapping[str, Any]]  # by deployment


class _EachNameOnce(yaml.SafeLoader):
    """Of two values with one name the first would be lost without a word, as when a block is pasted into the file."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for name in (name for name, _ in node.value if isinstance(name, yaml.ScalarNode)):
            if name.value in seen:
                raise ConfigError(f"{name.value} stands there twice, again in line {name.start_mark.line + 1}")
            seen.add(name.value)
        return super().construct_mapping(node, deep)


def read_config(path: Path) -> ConfigFile:
    """
    Read and check a config file, and apply the environment.

    Raises:
        ConfigError: The file cannot be read, or something in it is wrong; names the file and the key.
    """
    try:
        tree = _mapping(yaml.load(path.read_text(encoding="utf-8"), _EachNameOnce), "the file")
        return _checked(tree)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}") from error


def _checked(tree: Mapping[str, Any]) -> ConfigFile:
    _only(tree, TOP, "")
    http = _mapping(tree.get("http_options") or {}, "http_options")
    _only(http, HTTP, "http_options.")
    application = _application(tree)
    args = _mapping(application.get("args") or {}, "args")
    listen = {key: http[key] for key in ("host", "port") if key in http}
    settings = load_settings({**args, "http": {**listen, **_mapping(args.get("http") or {}, "args.http")}})
    user_configs = _user_configs(application)
    for name, user_config in user_configs.items():
        with_user_config(settings, name, user_config)
    return ConfigFile(
        settings=settings,
        args={**args, "http": settings.http.model_dump()},
        http_options={**http, "host": settings.http.host, "port": settings.http.port},
        logging_config=_mapping(tree.get("logging_config") or {}, "logging_config"),
        tracing_config=_mapping(tree.get("tracing_config") or {}, "tracing_config"),
        proxy_location=tree.get("proxy_location", "HeadOnly"),
        name=application.get("name", "rayscribe"),
        route_prefix=application.get("route_prefix", "/"),
        user_configs=user_configs,
    )


def _user_configs(application: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    deployments = application.get("deployments") or []
    if not isinstance(deployments, list):
        raise ConfigError("deployments must be a list")
    found = {}
    for n, deployment in enumerate(deployments):
        where = f"deployments[{n}]"
        for key in _mapping(deployment, where):
            if key not in DEPLOYMENT:
                raise ConfigError(
                    f"{where}.{key} is refused, because Serve replaces such options whole; set it under args"
                )
        name = deployment.get("name")
        if name not in LIVE:
            raise ConfigError(f"{where}.name must be one of {', '.join(LIVE)}")
        found[name] = _mapping(deployment.get("user_config") or {}, f"{where}.user_config")
    return found


def _application(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    applications = tree.get("applications")
    if not isinstance(applications, list) or len(applications) != 1:
        raise ConfigError("applications must be a list of one application")
    application = _mapping(applications[0], "applications[0]")
    _only(application, APPLICATION, "applications[0].")
    if application.get("import_path") != BUILDER:
        raise ConfigError(f"applications[0].import_path must be {BUILDER}")
    return application


def _only(tree: Mapping[str, Any], known: Iterable[str], above: str) -> None:
    for key in tree:
        if key not in known:
            raise ConfigError(f"{above}{key} is not known{_hint(str(key), known)}")


def _hint(key: str, known: Iterable[str]) -> str:
    if key in Settings.model_fields:
        return "; as a setting it belongs below `args:` of the application, as in configs/local.yaml"
    near = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{what} must be a mapping of names to values")
    return value
