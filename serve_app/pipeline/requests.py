"""What each chunk is asked with: the language and the text that are known by then."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from serve_app.pipeline.summary import CERTAIN
from serve_app.transcript.types import Chunk, ChunkRequest, RecognizedChunk, TranscriptionOptions

CONTEXT_CHARACTERS = 1500  # Whisper's prompt holds 223 tokens
MAX_CONTEXT_TEMPERATURE = 0.5  # text sampled hotter misleads what follows; the rule of OpenAI's `transcribe.py`
PATIENCE_CHUNKS = 3  # of a channel, to wait for a certain language: recognising one by one is slow


class RequestMaker:
    """
    Learns from the chunks of one transcription.

    Args:
        began_at: In each request.
    """

    def __init__(self, options: TranscriptionOptions, began_at: datetime | None = None) -> None:
        self._options = options
        self._began_at = began_at
        self._languages: dict[int, _Language] = {}  # by channel
        self._waits = 0  # chunks that may still be recognised one after the other, for a language
        self._text: dict[int, str] = {}  # by channel

    @property
    def needs_the_one_before(self) -> bool:
        """The next request depends on what is heard in the last."""
        return (self._detects_once and self._waiting) or self._options.condition_on_previous_text

    def request(self, chunk: Chunk) -> ChunkRequest:
        decoding = self._options.decoding
        if self._detects_once:
            decoding = replace(decoding, language=self._language(chunk.channel).known)
        before = self._text.get(chunk.channel, "")
        return ChunkRequest(chunk.samples, decoding, chunk.index, before, began_at=self._began_at)

    def learn(self, chunk: Chunk, recognized: RecognizedChunk) -> None:
        if self._detects_once:
            self._language(chunk.channel).learn(recognized)
            self._waits = max(0, self._waits - 1)
        if self._options.condition_on_previous_text:
            text = self._text.get(chunk.channel, "") + recognized.text
            hot = recognized.temperature > MAX_CONTEXT_TEMPERATURE
            self._text[chunk.channel] = "" if hot else text[-CONTEXT_CHARACTERS:]

    @property
    def _detects_once(self) -> bool:
        return self._options.decoding.language is None and not self._options.multilingual

    @property
    def _waiting(self) -> bool:
        unknown = [language for language in self._languages.values() if language.known is None]
        return not self._languages or (bool(unknown) and self._waits > 0)

    def _language(self, channel: int) -> _Language:
        if channel not in self._languages:
            self._languages[channel] = _Language()
            self._waits += PATIENCE_CHUNKS
        return self._languages[channel]


@dataclass(slots=True)
class _Language:
    """Of one channel: the first that is certain, or the most probable when patience ends. Only text tells of it."""

    known: str | None = None
    patience: int = PATIENCE_CHUNKS
    _guess: str | None = None
    _probability: float = 0.0

    def learn(self, recognized: RecognizedChunk) -> None:
        if self.known is not None:
            return
        self.patience -= 1
        if recognized.text.strip() and recognized.language_probability >= self._probability:
            self._guess, self._probability = recognized.language or None, recognized.language_probability
        if self._probability >= CERTAIN or self.patience <= 0:
            self.known = self._guess
