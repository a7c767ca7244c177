"""
Every error that the service raises on purpose. None knows HTTP; `api/problems.py` maps them.

    RayscribeError
    ├── ConfigError
    ├── InvalidRequest
    │   ├── UnsupportedLanguage
    │   └── IdempotencyMismatch
    ├── MediaError
    │   ├── InvalidAudio
    │   ├── AudioTooShort
    │   └── AudioTooLarge
    │       └── AudioTooLong
    ├── ModelError
    │   ├── ModelNotFound
    │   ├── ModelLoadFailed
    │   ├── ModelNotReady
    │   ├── OutOfMemory
    │   ├── InsufficientMemory
    │   ├── PullFailed
    │   └── ModelInUse
    ├── AccessError
    │   ├── InvalidApiKey
    │   ├── NotPermitted
    │   └── RateLimited
    ├── JobNotFound
    │   ├── DeliveryNotFound
    │   └── UploadNotFound
    ├── GpuLost
    ├── LeaseLost
    ├── Superseded
    ├── Overloaded
    └── Unavailable
        ├── RecognizerUnavailable
        │   └── RecognizerLeaving
        ├── MediaUnavailable
        │   └── RemoteUnavailable
        ├── StoreUnavailable
        └── CoordinatorUnavailable
"""

from __future__ import annotations


class RayscribeError(Exception):
    """
    The root.

    Attributes:
        message: One or two sentences for the person who can mend it.
        param: The request field it is about.
        retry_after_s: When it is worth trying again.
        code: What programs go by; OpenAI's word where it has one.
    """

    code = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: float | None = None) -> None:
        # The message alone goes to Exception's args and the rest to __dict__: that is what pickles through Ray.
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s


class ConfigError(RayscribeError):
    """The settings are wrong or contradict each other."""


class InvalidRequest(RayscribeError):
    """A field is missing, malformed or contradicts another."""

    code = "invalid_value"


class UnsupportedLanguage(InvalidRequest):
    """The model cannot do the language or the task."""

    code = "unsupported_language"


class MediaError(RayscribeError):
    """The media cannot be transcribed."""

    code = "invalid_audio"


class InvalidAudio(MediaError):
    """Not audio, or nothing of it can be decoded."""


class AudioTooShort(MediaError):
    """Less than 0.1 s of sound."""

    code = "audio_too_short"


class AudioTooLarge(MediaError):
    """More bytes than one request may send."""

    code = "audio_too_large"


class AudioTooLong(AudioTooLarge):
    """More seconds than one request may send."""


class ModelError(RayscribeError):
    """The model cannot serve this request."""


class ModelNotFound(ModelError):
    """The id is in no catalogue."""

    code = "model_not_found"


class ModelLoadFailed(ModelError):
    """The model cannot load here, and trying again will not help."""

    code = "model_load_failed"


class ModelNotReady(ModelError):
    """The model is loading."""

    code = "model_not_ready"


class OutOfMemory(ModelError):
    """There is no room for the model now."""

    code = "out_of_memory"


class InsufficientMemory(ModelError):
    """The device is too small for a chunk, and trying again will not help."""

    code = "insufficient_memory"


class PullFailed(ModelError):
    """The weights cannot be had now."""

    code = "model_pull_failed"


class ModelInUse(ModelError):
    """The weights cannot be removed while they are used."""

    code = "model_in_use"


class AccessError(RayscribeError):
    """The caller may not do this now."""


class InvalidApiKey(AccessError):
    """The key is missing or wrong."""

    code = "invalid_api_key"


class NotPermitted(AccessError):
    """The key is right, and lacks the scope that this needs."""

    code = "permission_denied"


class RateLimited(AccessError):
    """The key has used up its share."""

    code = "rate_limit_exceeded"


class Overloaded(RayscribeError):
    """The queue is full."""

    code = "overloaded"


class IdempotencyMismatch(InvalidRequest):
    """The idempotency key was used before, for something else."""

    code = "idempotency_mismatch"


class JobNotFound(RayscribeError):
    """There is no such job, or it is somebody else's."""

    code = "job_not_found"


class DeliveryNotFound(JobNotFound):
    """The job has no such webhook delivery."""

    code = "delivery_not_found"


class UploadNotFound(JobNotFound):
    """There is no such upload, or it has expired, or it is somebody else's."""

    code = "upload_not_found"


class GpuLost(RayscribeError):
    """The GPU or its driver does not answer."""


class LeaseLost(RayscribeError):
    """The right to work on a job is gone: it was cancelled, or somebody else may own it now."""


class Superseded(RayscribeError):
    """Another Coordinator has taken over."""


class Unavailable(RayscribeError):
    """Something is away; it is worth trying again."""

    code = "unavailable"


PASSING = (PullFailed, Unavailable)
"""Why a load failed that may do better the next time, though nobody mends anything."""


class RecognizerUnavailable(Unavailable):
    """The recogniser died, and so did the retries."""

    code = "recognizer_unavailable"


class RecognizerLeaving(RecognizerUnavailable):
    """This process of the recogniser takes nothing more; another one does, or will soon."""


class MediaUnavailable(Unavailable):
    """The server that has the audio is away, or the store that keeps it is."""

    code = "media_unavailable"


class RemoteUnavailable(MediaUnavailable):
    """The server that a client named has the audio, and does not send it now."""


class StoreUnavailable(Unavailable):
    """The job store cannot keep its promises now: a full disk, a read-only directory, a damaged file."""

    code = "store_unavailable"


class CoordinatorUnavailable(Unavailable):
    """The process that keeps the jobs is starting again."""

    code = "coordinator_unavailable"
