"""
The settings: one frozen tree, from field defaults, then the YAML's `args`, then the environment.

Secrets are not here. The tree holds names (`api_key_env`, `api_key_file`), because Ray runs `build_app` as a task on any
node and stores what it returns; who needs a secret resolves the name at start with `read_api_keys` and its like.
"""

from __future__ import annotations

from serve_app.settings.access import (
    check_listen,
    is_local_only,
    is_loopback,
    read_api_keys,
    read_database_url,
    read_hub_token,
    read_webhook_secret,
)
from serve_app.settings.clients import MAX_STREAMS, AuthSettings, HttpSettings, LimitSettings
from serve_app.settings.environment import (
    ALIASES,
    export,
    ray_auth_mode,
    ray_has_token,
    upload_limit_bytes,
    uploads_limit_bytes,
)
from serve_app.settings.keys import ADMIN, ApiKey, Scope
from serve_app.settings.live import LIVE, with_user_config
from serve_app.settings.loading import load_settings
from serve_app.settings.paths import SettingInfo, settings_paths
from serve_app.settings.tree import (
    TINY_EN,
    ComputeType,
    DecodingSettings,
    Device,
    HubSettings,
    JobSettings,
    MediaSettings,
    ModelSettings,
    OutboundSettings,
    PipelineSettings,
    RecognizerSettings,
    Settings,
    SpeechSettings,
    WebhookSettings,
)
from serve_app.settings.well_known import WELL_KNOWN

__all__ = [
    "ADMIN",
    "ALIASES",
    "LIVE",
    "MAX_STREAMS",
    "TINY_EN",
    "WELL_KNOWN",
    "ApiKey",
    "AuthSettings",
    "ComputeType",
    "DecodingSettings",
    "Device",
    "HttpSettings",
    "HubSettings",
    "JobSettings",
    "LimitSettings",
    "MediaSettings",
    "ModelSettings",
    "OutboundSettings",
    "PipelineSettings",
    "RecognizerSettings",
    "Scope",
    "SettingInfo",
    "Settings",
    "SpeechSettings",
    "WebhookSettings",
    "check_listen",
    "export",
    "is_local_only",
    "is_loopback",
    "load_settings",
    "ray_auth_mode",
    "ray_has_token",
    "read_api_keys",
    "read_database_url",
    "read_hub_token",
    "read_webhook_secret",
    "settings_paths",
    "upload_limit_bytes",
    "uploads_limit_bytes",
    "with_user_config",
]
