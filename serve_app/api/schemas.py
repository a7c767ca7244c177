"""The request forms as clients send them, and what they mean inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator

from serve_app.api.fields import Language, ServerVad, Strategy, Temperatures
from serve_app.api.forms import Fields
from serve_app.errors import InvalidRequest
from serve_app.settings import Settings
from serve_app.transcript.render import TIMED, Format, Layout, no_diarizer
from serve_app.transcript.subtitles import Lines
from serve_app.transcript.types import Channels, DecodingOptions, SpeechOptions, Task, TranscriptionOptions

T = TypeVar("T")

MAX_HINT_CHARACTERS = 8192  # far more than the decoder looks at; all of it would be read for every chunk again


def _not_diarized(wanted: Format) -> Format:
    if wanted is Format.DIARIZED_JSON:
        raise ValueError("translations have no diarized_json")
    return wanted


class SpeechForm(Fields):
    """How audio is to be transcribed, whatever is made of the transcript."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    model: str
    """A model id or alias from `/v1/models`."""
    language: Language | None = None
    """The language spoken: ISO 639-1 code, English name or BCP-47 tag, in any case. Detected if absent."""
    prompt: str = ""
    """Text that guides the style of every chunk."""
    temperature: Temperatures = 0.0
    """Sampling temperature. 0 tries the configured ladder in turn; several are a ladder of their own."""
    chunking_strategy: Strategy = None
    """What counts as speech: `auto`, or an object."""
    hotwords: str = ""
    """Words that are likely to be said."""
    vad_filter: bool | None = None
    """Leave out what does not sound like speech."""
    beam_size: Annotated[int, Field(ge=1, le=16)] | None = None
    condition_on_previous_text: bool = False
    """Prompt each chunk with the text before it: slower, more consistent."""
    multilingual: bool = False
    """Detect the language of each chunk."""
    channels: Channels = Channels.MIX
    """`separate` transcribes each channel by itself."""

    @property
    def words_heard(self) -> str:
        return self.hotwords

    @property
    def candidates(self) -> tuple[str, ...]:
        return ()

    def _options(
        self, settings: Settings, model_id: str, *, task: Task, word_times: bool, logprobs: bool
    ) -> TranscriptionOptions:
        return TranscriptionOptions(
            decoding=DecodingOptions(
                model_id=model_id,
                task=task,
                language=self.language,
                languages=self.candidates,
                beam_size=self.beam_size or settings.decoding.beam_size,
                temperatures=_ladder(self.temperature, settings),
                prompt=self.prompt[-MAX_HINT_CHARACTERS:],
                hotwords=self.words_heard[:MAX_HINT_CHARACTERS],
                word_times=word_times,
                logprobs=logprobs,
            ),
            speech=self._speech(settings),
            channels=self.channels,
            condition_on_previous_text=self.condition_on_previous_text,
            multilingual=self.multilingual,
        )

    def _speech(self, settings: Settings) -> SpeechOptions:
        given, default = self.chunking_strategy or ServerVad(type="server_vad"), settings.speech
        return SpeechOptions(
            vad_filter=_or(self.vad_filter, default.vad_filter),
            threshold=_or(given.threshold, default.threshold),
            min_silence_s=_or(_seconds(given.silence_duration_ms), default.min_silence_s),
            padding_s=_or(_seconds(given.prefix_padding_ms), default.padding_s),
        )


class HintedForm(SpeechForm):
    """What OpenAI's transcriptions have beyond its translations, and jobs too."""

    timestamp_granularities: tuple[Literal["word", "segment"], ...] = ()
    """With `verbose_json`. `segment` if absent."""
    include: tuple[Literal["logprobs"], ...] = ()
    """With `json`."""
    keywords: tuple[str, ...] = ()
    """Words that are likely to be said."""
    languages: tuple[Language, ...] = ()
    """Languages that may be spoken; one of them is detected."""

    @property
    def words_heard(self) -> str:
        return ", ".join(filter(None, (self.hotwords, *self.keywords)))

    @property
    def candidates(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.languages))


class AudioForm(SpeechForm):
    """What both audio routes take, besides the file."""

    task: ClassVar[Task]

    response_format: Format = Format.JSON
    max_line_width: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Characters in a line of a subtitle."""
    max_line_count: Annotated[int, Field(ge=1, le=100)] | None = None
    """Lines in a subtitle."""

    @property
    def layout(self) -> Layout:
        return Layout(lines=Lines(self.max_line_width, self.max_line_count))

    def options(self, settings: Settings, model_id: str) -> TranscriptionOptions:
        return self._options(
            settings,
            model_id,
            task=self.task,
            word_times=self.response_format in TIMED,
            logprobs=self.layout.logprobs,
        )


class TranslationForm(AudioForm):
    """`POST /v1/audio/translations`"""

    task = Task.TRANSLATE
    refused: ClassVar[Mapping[str, str]] = {
        "stream": "a translation comes as a whole; leave it out",
        "timestamp_granularities": "a translation has the times of segments only; leave it out, and send"
        " response_format=verbose_json for these",
        "include": "a translation comes without log-probabilities; leave it out",
        "keywords": "send these words as `hotwords`",
        "languages": "send the one that is spoken as `language`, or leave it out to have it detected",
    }

    response_format: Annotated[
        Format,
        AfterValidator(_not_diarized),
        WithJsonSchema({"enum": [wanted.value for wanted in Format if wanted is not Format.DIARIZED_JSON]}),
    ] = Format.JSON


class TranscriptionForm(HintedForm, AudioForm):
    """`POST /v1/audio/transcriptions`"""

    task = Task.TRANSCRIBE

    stream: bool = False
    """Send the text as it comes, as server-sent events. With `json` or `text`."""

    @model_validator(mode="after")
    def _fits_the_format(self) -> Self:
        if "word" in self.timestamp_granularities and self.response_format is not Format.VERBOSE_JSON:
            raise InvalidRequest(
                "timestamp_granularities needs response_format=verbose_json.", param="timestamp_granularities"
            )
        if self.include and self.response_format is not Format.JSON:
            raise InvalidRequest("include=logprobs needs response_format=json.", param="include")
        if self.stream and self.response_format not in (Format.JSON, Format.TEXT):
            raise InvalidRequest("stream needs response_format=json or text.", param="response_format")
        if self.response_format is Format.DIARIZED_JSON and self.channels is not Channels.SEPARATE:
            raise no_diarizer()
        return self

    @property
    def layout(self) -> Layout:
        wanted = self.timestamp_granularities or ("segment",)
        return Layout(
            segments="segment" in wanted,
            words="word" in wanted,
            logprobs="logprobs" in self.include,
            lines=Lines(self.max_line_width, self.max_line_count),
        )


def _ladder(temperature: float | tuple[float, ...], settings: Settings) -> tuple[float, ...]:
    if isinstance(temperature, tuple):
        return temperature
    return (temperature,) if temperature > 0 else settings.decoding.temperatures


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000


def _or(given: T | None, default: T) -> T:
    return default if given is None else given
