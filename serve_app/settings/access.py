"""Who may use the service: the API keys, and that nobody else can reach it by mistake."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

from serve_app.errors import ConfigError
from serve_app.settings.environment import environment
from serve_app.settings.tree import AuthSettings, Settings


def check_listen(settings: Settings, *, has_keys: bool) -> None:
    """
    Refuse to serve strangers without a key unless the settings say so.

    Raises:
        ConfigError: The address is not loopback, there is no API key, and `auth.mode` is not `none`.
    """
    if _is_loopback(settings.http.host) or has_keys or settings.auth.mode == "none":
        return
    raise ConfigError(
        f"http.host is {settings.http.host}, which others can reach, and there is no API key:"
        f" set {settings.auth.api_key_env}, or auth.mode: none if everyone may use the service"
    )


def read_api_keys(auth: AuthSettings, env: Mapping[str, str] | None = None) -> frozenset[str]:
    """
    The keys that the names in the settings stand for, none if `auth.mode` is `none`.

    Raises:
        ConfigError: `api_key_file` cannot be read.
    """
    if auth.mode == "none":
        return frozenset()
    keys = re.split(r"[\s,]+", environment(env).get(auth.api_key_env, ""))
    if auth.api_key_file is not None:
        try:
            keys += Path(auth.api_key_file).read_text(encoding="utf-8").split()
        except OSError as error:
            raise ConfigError(f"auth.api_key_file: {error.strerror} ({auth.api_key_file})") from error
        if not any(keys):  # an emptied file must not open the service to everyone
            raise ConfigError(f"auth.api_key_file holds no key ({auth.api_key_file})")
    return frozenset(filter(None, keys))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
