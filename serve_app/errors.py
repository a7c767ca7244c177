"""
Every error that the service raises on purpose. None knows HTTP; `api/problems.py` maps them.

    RayscribeError
    ├── ConfigError
    ├── InvalidRequest
    │   └── UnsupportedLanguage
    ├── MediaError
    │   ├── InvalidAudio
    │   ├── AudioTooShort
    │   └── AudioTooLarge
    │       └── AudioTooLong
    ├── ModelError
    │   ├── ModelNotFound
    │   ├── ModelLoadFailed
    │   ├── ModelNotReady
    │   └── OutOfMemory
    ├── AccessError
    │   ├── InvalidApiKey
    │   └── RateLimited
    ├── Overloaded
    └── RecognizerUnavailable
"""

from __future__ import annotations


class RayscribeError(Exception):
    """
    The root.

    Attributes:
        message: One or two sentences for the person who can mend it.
        param: The request field it is about.
        retry_after_s: When it is worth trying again.
    """

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


class UnsupportedLanguage(InvalidRequest):
    """The model cannot do the language or the task."""


class MediaError(RayscribeError):
    """The media cannot be transcribed."""


class InvalidAudio(MediaError):
    """Not audio, or nothing of it can be decoded."""


class AudioTooShort(MediaError):
    """Less than 0.1 s of sound."""


class AudioTooLarge(MediaError):
    """More bytes than one request may send."""


class AudioTooLong(AudioTooLarge):
    """More seconds than one request may send."""


class ModelError(RayscribeError):
    """The model cannot serve this request."""


class ModelNotFound(ModelError):
    """The id is in no catalogue."""


class ModelLoadFailed(ModelError):
    """The model cannot load here, and trying again will not help."""


class ModelNotReady(ModelError):
    """The model is loading."""


class OutOfMemory(ModelError):
    """There is no room for the model now."""


class AccessError(RayscribeError):
    """The caller may not do this now."""


class InvalidApiKey(AccessError):
    """The key is missing or wrong."""


class RateLimited(AccessError):
    """The key has used up its share."""


class Overloaded(RayscribeError):
    """The queue is full."""


class RecognizerUnavailable(RayscribeError):
    """The recogniser died, and so did the retries."""
