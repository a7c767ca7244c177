"""
The values that cross the service: small, frozen, picklable.

Times are seconds from the start of the file unless a docstring says otherwise. Audio is mono 16 kHz
signed 16-bit, because that is half the bytes of float and all that Whisper was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
MAX_CHUNK_S = 30.0

Samples = NDArray[np.int16]


class Task(StrEnum):
    TRANSCRIBE = "transcribe"  # text in the language spoken
    TRANSLATE = "translate"  # text in English


class Channels(StrEnum):
    MIX = "mix"  # all channels as one
    SEPARATE = "separate"  # each channel its own transcript, merged in time order


@dataclass(frozen=True, slots=True)
class DecodingOptions:
    """How a chunk is decoded; equal for all chunks of a request."""

    model_id: str
    task: Task = Task.TRANSCRIBE
    language: str | None = None  # ISO code; None detects
    languages: tuple[str, ...] = ()  # candidates for detection; empty means all
    beam_size: int = 5
    temperatures: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # tried in turn until one passes
    prompt: str = ""
    hotwords: str = ""
    word_times: bool = False  # align words: costs about a third of the decoding
    logprobs: bool = False  # log-probability of each token


@dataclass(frozen=True, slots=True)
class SpeechOptions:
    """What counts as speech, and where chunks are cut."""

    vad_filter: bool = True  # False: cut on quiet places, but keep everything
    threshold: float = 0.5
    min_silence_s: float = 0.2  # a shorter pause does not end a speech span
    padding_s: float = 0.2  # kept before and after each span


@dataclass(frozen=True, slots=True)
class TranscriptionOptions:
    """One request for a transcript, from either door."""

    decoding: DecodingOptions
    speech: SpeechOptions = SpeechOptions()
    channels: Channels = Channels.MIX
    condition_on_previous_text: bool = False
    multilingual: bool = False  # detect the language of each chunk
    needs_channels: bool = False  # refuse a file that has only one, before anything is recognised


@dataclass(frozen=True, slots=True)
class Span:
    """Where something is, in seconds."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Chunk:
    """At most 30 s of audio, cut in silence: the unit of recognition."""

    index: int  # from 0, within its channel
    channel: int
    start: float  # in the file
    samples: Samples  # shape (n,)
    spans: tuple[Span, ...]  # speech in this chunk, in file seconds, in order

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE_HZ

    @property
    def end(self) -> float:
        return self.start + self.duration_s


@dataclass(frozen=True, slots=True)
class ChunkRequest:
    """A chunk and all that is needed to recognise it."""

    samples: Samples
    options: DecodingOptions
    index: int = 0  # place among its request's chunks; later chunks yield to other requests' first ones
    previous_text: str = ""  # what this request said before this chunk, when it conditions on it
    background: bool = False  # of a job: yields to requests, for which somebody holds a connection open
    began_at: datetime | None = None  # the run: when its model is to be unloaded, what began before may end; None: now


@dataclass(frozen=True, slots=True)
class Word:
    start: float
    end: float
    text: str  # with its leading space and punctuation
    probability: float
    tokens: tuple[int, ...] = ()

    def shifted(self, offset_s: float) -> Word:
        return Word(self.start + offset_s, self.end + offset_s, self.text, self.probability, self.tokens)


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    token: str
    logprob: float
    bytes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Engine:
    """What recognised a chunk."""

    model_id: str
    revision: str
    compute_type: str
    device: str
    versions: tuple[tuple[str, str], ...] = ()  # (package, version)


@dataclass(frozen=True, slots=True)
class RecognizedChunk:
    """What a recogniser heard in one chunk. Word times are seconds from the start of the chunk."""

    text: str  # leading space kept; empty when nothing was said
    tokens: tuple[int, ...]
    language: str
    language_probability: float
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    engine: Engine
    words: tuple[Word, ...] = ()  # empty unless asked for
    logprobs: tuple[TokenLogprob, ...] = ()  # empty unless asked for
    attempts: int = 1  # decodings it took; more than one means that a quality rule failed
    warnings: tuple[WarningCode, ...] = ()


class WarningCode(StrEnum):
    NO_SPEECH = "no_speech"  # nothing that sounds like speech in the whole file
    REPETITION = "repetition"  # the text still repeats itself after every fallback
    LOW_CONFIDENCE = "low_confidence"  # log-probability below the threshold, or text cut off, after every fallback
    LANGUAGE_UNCERTAIN = "language_uncertain"  # detected with a probability below one half
    TRUNCATED_MEDIA = "truncated_media"  # the file ends early or is damaged; what it holds was transcribed


@dataclass(frozen=True, slots=True)
class TranscriptWarning:
    code: WarningCode
    message: str
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A sentence-like piece of a transcript."""

    start: float
    end: float
    text: str  # leading space kept
    language: str
    tokens: tuple[int, ...]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    chunk_start: float  # start of the chunk it came from
    channel: int = 0
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class ChunkTranscribed:
    """A chunk is done; chunks of one channel come in order, those of several channels interleave by time."""

    index: int
    channel: int
    start: float
    end: float
    text: str
    segments: tuple[Segment, ...]
    recognized: RecognizedChunk
    declared_s: float | None = None  # length of the file as its header says; headers may lie


@dataclass(frozen=True, slots=True)
class TranscriptionFinished:
    """The last event of every transcription that did not raise."""

    duration_s: float
    language: str  # the most spoken; "" when nothing was said and no language was given
    language_probability: float
    warnings: tuple[TranscriptWarning, ...] = ()
    speech_s: float = 0.0
    channels: int = 1


TranscriptEvent = ChunkTranscribed | TranscriptionFinished


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a transcript was made, for audit and for comparing two of them."""

    engine: Engine | None  # None when nothing reached a recogniser
    options: TranscriptionOptions
    fallbacks: int  # chunks that needed more than one decoding
    sampled: bool  # some text was sampled (temperature above 0), so another run may differ
    version: str  # of rayscribe


@dataclass(frozen=True, slots=True)
class Transcript:
    """The whole result. Formats are pure functions of it."""

    text: str
    language: str  # ISO code, or "" when nothing was said and none was given
    language_probability: float
    duration_s: float
    task: Task
    provenance: Provenance
    segments: tuple[Segment, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    warnings: tuple[TranscriptWarning, ...] = field(default=())
    channels: int = 1  # transcribed apart
