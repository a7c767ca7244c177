"""The sections about clients: where they come in, who they are, and how much each may ask for."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from serve_app.settings.section import Count, Positive, Section


class HttpSettings(Section):
    host: str = "127.0.0.1"
    """Address that `rayscribe serve` listens on. Another one than loopback needs API keys, or `auth: none`."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """Port that `rayscribe serve` listens on."""
    enable_ui: bool = True
    """Serve the page at `/` and the documentation at `/docs`."""
    cors_origins: tuple[str, ...] = ()
    """Origins (`https://app.example.com`) whose pages may use the service from a browser; `*` means any."""

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != "*" and not re.fullmatch(r"https?://[^/?#\s@*]+", origin):
                raise ValueError(f"{origin!r} is no origin: it looks like https://app.example.com, without a path")
        return origins


MAX_STREAMS = 1000
"""That follow jobs, models or pulls at one Gateway replica; no setting, because the Coordinator has places for them all."""


class AuthSettings(Section):
    mode: Literal["auto", "none"] = "auto"
    """`auto`: keys are required as soon as there are any. `none`: no key is ever asked for."""
    api_key_env: str = "API_KEY"
    """Environment variable with the API keys, separated by commas or white space. Each is a word, which may transcribe, have
    jobs, load and unload models, or `NAME:SCOPES:KEY` with scopes of `transcribe`, `jobs`, `models` and `admin` joined by `+`,
    which may do only these."""
    api_key_file: str | None = None
    """File with one such key a line; read again when it changes."""
    admin_key_env: str = "ADMIN_API_KEY"
    """Environment variable with the API keys that are of scope `admin` if they do not say otherwise. These see the jobs and
    uploads of all keys, pull and delete models, unload by force and pin for ever. Where there are none, keys that are a mere
    word may steer models so, too."""
    admin_key_file: str | None = None
    """File with one such key a line; read again when it changes."""
    metrics: Literal["open", "key"] = "open"
    """`open`: `/metrics` is shown without a key, as `/health` is; `key`: any key opens it."""


class LimitSettings(Section):
    max_upload_bytes: Count = 100 * 1024 * 1024
    """Largest request body, in bytes."""
    max_uploads_bytes: Count = 1024 * 1024 * 1024
    """Request bodies that the proxy holds at once, in bytes; one more is answered 503 with `Retry-After`."""
    upload_idle_s: Positive = 60.0
    """A request whose body stops coming for so long is answered 408 and gives its place back, in seconds."""
    max_audio_s: Positive = 4 * 3600.0
    """Longest audio, in seconds; decoding stops there."""
    max_requests: Count = 64
    """Requests in progress at one Gateway replica; one more is answered 503 with `Retry-After`."""
    max_requests_per_key: Annotated[int, Field(ge=0)] = 0
    """Requests in progress for one API key; one more is answered 429. 0 = no limit."""
    requests_per_minute_per_key: Annotated[int, Field(ge=0)] = 0
    """Transcriptions, translations, jobs and uploads that one API key may begin within a minute, at one Gateway replica; one
    more is answered 429. 0 = no limit."""
    max_retry_after_s: Annotated[int, Field(ge=1, le=120)] = 60
    """Longest `Retry-After` ever sent, in seconds."""
    inline_upload_bytes: Annotated[int, Field(ge=0)] = 1024 * 1024
    """Uploads up to this many bytes travel inside the call; larger ones through `media.store`, or `data_dir` where that is
    empty."""
