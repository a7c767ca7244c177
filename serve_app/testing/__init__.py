"""
Stand-ins for the parts that need a model, a cluster, a database or time.

They are part of the product: whoever builds on rayscribe tests against them, as its own tests do.
"""

from serve_app.testing.clock import FakeClock, FakeSleep
from serve_app.testing.jobs import InMemoryJobStore
from serve_app.testing.media import InMemoryMediaStore, silent_wav, wav_duration_s
from serve_app.testing.models import FakeModels
from serve_app.testing.transcribing import (
    LOGPROB,
    PROBABILITY,
    SENTENCES,
    FakeRecognizer,
    FakeTranscriber,
    at_once,
    read_file,
    recognized,
    segment,
    told_length,
)

__all__ = [
    "LOGPROB",
    "PROBABILITY",
    "SENTENCES",
    "FakeClock",
    "FakeModels",
    "FakeRecognizer",
    "FakeSleep",
    "FakeTranscriber",
    "InMemoryJobStore",
    "InMemoryMediaStore",
    "at_once",
    "read_file",
    "recognized",
    "segment",
    "silent_wav",
    "told_length",
    "wav_duration_s",
]
