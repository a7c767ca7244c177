"""Secrets by name: API keys, the database, the hub, webhooks; and that no stranger reaches the service by mistake."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path

from serve_app.errors import ConfigError
from serve_app.settings.clients import AuthSettings
from serve_app.settings.environment import environment
from serve_app.settings.keys import ADMIN, CLIENT, ApiKey, Scope, keys_of, merged
from serve_app.settings.tree import HubSettings, JobSettings, Settings, WebhookSettings

SECRET_PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)  # what the Standard Webhooks specification asks for


def check_listen(settings: Settings, *, has_keys: bool) -> None:
    """
    Refuse to serve strangers without a key unless the settings say so.

    Raises:
        ConfigError: The address is not loopback, there is no API key, and `auth.mode` is not `none`.
    """
    if is_loopback(settings.http.host) or has_keys or settings.auth.mode == "none":
        return
    raise ConfigError(
        f"http.host is {settings.http.host}, which others can reach, and there is no API key:"
        f" set {settings.auth.api_key_env}, or auth.mode: none if everyone may use the service"
    )


def is_local_only(settings: Settings, *, has_keys: bool) -> bool:
    """Whether nobody but who works on this machine is meant to use the service, although it asks for no key."""
    return is_loopback(settings.http.host) and not has_keys and settings.auth.mode != "none"


def read_api_keys(auth: AuthSettings, env: Mapping[str, str] | None = None) -> Sequence[ApiKey]:
    """
    The keys that the names in the settings stand for, none if `auth.mode` is `none`.

    Raises:
        ConfigError: A file cannot be read, there is no key in it and in the variable beside it, or a scope is unknown.
    """
    if auth.mode == "none":
        return ()
    own = _keys("auth.api_key_file", auth.api_key_env, auth.api_key_file, CLIENT, env)
    admin = _keys("auth.admin_key_file", auth.admin_key_env, auth.admin_key_file, ADMIN, env)
    return merged([*own, *admin])


def read_database_url(jobs: JobSettings, env: Mapping[str, str] | None = None) -> str | None:
    """
    The URL of the PostgreSQL database that keeps the jobs; None if they lie in a file.

    Raises:
        ConfigError: It is no such URL, its file cannot be read, or the variable and the file differ.
    """
    url = _one_secret("jobs.database_url", jobs.database_url_env, jobs.database_url_file, env)
    if url is not None and not url.startswith(("postgresql://", "postgres://")):
        raise ConfigError(
            f"{_origin(jobs.database_url_env, jobs.database_url_file)} holds no URL of a PostgreSQL database:"
            " it looks like postgresql://user:password@host/name"
        )
    return url


def read_hub_token(hub: HubSettings, env: Mapping[str, str] | None = None) -> str | None:
    """
    The token for private or gated repositories of the model hub; None if there is none.

    Raises:
        ConfigError: Its file cannot be read or is empty, it is no token, or the variable and the file differ.
    """
    token = _one_secret("hub.token", hub.token_env, hub.token_file, env)
    if token is not None and not re.fullmatch(r"[!-~]+", token):  # it goes into a header
        raise ConfigError(f"{_origin(hub.token_env, hub.token_file)} holds no token: it is one word, as hf_…")
    return token


def read_webhook_secret(webhooks: WebhookSettings, env: Mapping[str, str] | None = None) -> str | None:
    """
    The secret that webhooks are signed with, `whsec_` and base64; None if they are not signed.

    Raises:
        ConfigError: It is no such secret, its file cannot be read, or the variable and the file differ.
    """
    secret = _one_secret("webhooks.secret", webhooks.secret_env, webhooks.secret_file, env)
    if secret is not None and _length_bytes(secret) not in SECRET_BYTES:
        raise ConfigError(
            f"{_origin(webhooks.secret_env, webhooks.secret_file)} holds no secret of Standard Webhooks:"
            f" {SECRET_PREFIX} and then 24 to 64 random bytes in base64;"
            f" make one with: echo {SECRET_PREFIX}$(openssl rand -base64 32)"
        )
    return secret


def _keys(
    setting: str, variable: str, file: str | None, scopes: frozenset[Scope], env: Mapping[str, str] | None
) -> list[ApiKey]:
    entries = re.split(r"[\s,]+", environment(env).get(variable, ""))
    keys = keys_of(variable, filter(None, entries), scopes)
    if file is not None:
        keys += keys_of(setting, _read(setting, file).split(), scopes)
        if not keys:  # an emptied file must not open the service to everyone
            raise ConfigError(f"{setting} holds no key ({file})")
    return keys


def _one_secret(setting: str, variable: str, file: str | None, env: Mapping[str, str] | None) -> str | None:
    from_variable = environment(env).get(variable, "").strip()
    if file is None:
        return from_variable or None
    from_file = _read(f"{setting}_file", file).strip()
    if not from_file:  # an emptied file must not change in silence where jobs lie, or whether webhooks are signed
        raise ConfigError(f"{setting}_file is empty ({file})")
    if from_variable not in ("", from_file):
        raise ConfigError(f"{variable} and {setting}_file hold different values: remove one")
    return from_file


def _read(setting: str, file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{setting}: {error.strerror} ({file})") from error
    except UnicodeDecodeError:
        # Not chained: the error would carry the file's bytes into a log.
        raise ConfigError(f"{setting} is not text ({file})") from None


def _origin(variable: str, file: str | None) -> str:
    return variable if file is None else f"the file {file}"


def _length_bytes(secret: str) -> int:
    """Of the key that the secret stands for; 0 if it stands for none."""
    if not secret.startswith(SECRET_PREFIX):
        return 0
    encoded = secret.removeprefix(SECRET_PREFIX)
    try:
        return len(base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True))
    except (binascii.Error, ValueError):
        return 0


def is_loopback(host: str) -> bool:
    """Whether the address or name is that of this machine, for itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
