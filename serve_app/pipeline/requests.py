"""What each chunk is asked with: the language and the text that are known by then."""

from __future__ import annotations

from dataclasses import replace

from serve_app.transcript.types import Chunk, ChunkRequest, DecodingOptions, RecognizedChunk, TranscriptionOptions

CONTEXT_CHARACTERS = 1500  # Whisper's prompt holds 223 tokens
MAX_CONTEXT_TEMPERATURE = 0.5  # text sampled hotter misleads what follows; the rule of OpenAI's `transcribe.py`


class RequestMaker:
    """Learns from the chunks of one transcription."""

    def __init__(self, options: TranscriptionOptions) -> None:
        self._options = options
        self._language = options.decoding.language
        self._text: dict[int, str] = {}  # by channel

    @property
    def needs_the_one_before(self) -> bool:
        """The next request depends on what is heard in the last."""
        detects = self._language is None and not self._options.multilingual
        return detects or self._options.condition_on_previous_text

    def request(self, chunk: Chunk) -> ChunkRequest:
        return ChunkRequest(chunk.samples, self._decoding, chunk.index, self._text.get(chunk.channel, ""))

    def learn(self, chunk: Chunk, recognized: RecognizedChunk) -> None:
        if not self._options.multilingual:
            self._language = self._language or recognized.language or None
        if self._options.condition_on_previous_text:
            text = self._text.get(chunk.channel, "") + recognized.text
            hot = recognized.temperature > MAX_CONTEXT_TEMPERATURE
            self._text[chunk.channel] = "" if hot else text[-CONTEXT_CHARACTERS:]

    @property
    def _decoding(self) -> DecodingOptions:
        return replace(self._options.decoding, language=self._language)
