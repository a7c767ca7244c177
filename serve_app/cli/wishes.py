"""What a caller wants of a transcription, in the words of the service's form. Light, because `--help` imports it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

DEFAULT_MODEL = "whisper-1"  # the service's alias of its default


class Task(StrEnum):
    TRANSCRIBE = "transcribe"
    TRANSLATE = "translate"


class Channels(StrEnum):
    MIX = "mix"
    SEPARATE = "separate"


class Priority(StrEnum):
    INTERACTIVE = "interactive"
    BATCH = "batch"


class OutputFormat(StrEnum):
    """The formats by the names of their files."""

    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"
    JSON = "json"
    DIARIZED = "diarized"

    @property
    def response_format(self) -> str:
        """What the service calls it."""
        return {
            OutputFormat.TXT: "text",
            OutputFormat.JSON: "verbose_json",
            OutputFormat.DIARIZED: "diarized_json",
        }.get(self, self.value)

    @property
    def suffix(self) -> str:
        return ".diarized.json" if self is OutputFormat.DIARIZED else f".{self}"


Fields = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is None or empty is left to the service."""

    model: str = DEFAULT_MODEL
    task: Task = Task.TRANSCRIBE
    language: str = ""
    prompt: str = ""
    hotwords: str = ""
    temperature: float | None = None
    beam_size: int | None = None
    vad_filter: bool | None = None
    channels: Channels | None = None
    multilingual: bool = False
    condition_on_previous_text: bool = False
    word_times: bool = False
    max_line_width: int | None = None
    max_line_count: int | None = None

    def fields(self) -> Fields:
        """Form fields of either door, without the task and the format."""
        given = {
            "model": self.model,
            "language": self.language,
            "prompt": self.prompt,
            "hotwords": self.hotwords,
            "temperature": self.temperature,
            "beam_size": self.beam_size,
            "vad_filter": self.vad_filter,
            "channels": self.channels,
            "multilingual": self.multilingual or None,
            "condition_on_previous_text": self.condition_on_previous_text or None,
        }
        return [(name, _text(value)) for name, value in given.items() if value not in (None, "")]

    def layout(self, wanted: OutputFormat) -> Fields:
        """How the result is shown: the format, and what that format knows besides."""
        fields = [("response_format", wanted.response_format)]
        if wanted is OutputFormat.JSON and self.word_times:
            fields += [("timestamp_granularities[]", "segment"), ("timestamp_granularities[]", "word")]
        if wanted in (OutputFormat.SRT, OutputFormat.VTT):
            lines = {"max_line_width": self.max_line_width, "max_line_count": self.max_line_count}
            fields += [(name, str(value)) for name, value in lines.items() if value is not None]
        return fields


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
