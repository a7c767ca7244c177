"""The engine in this process: no service, no Ray, no port."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from serve_app.api.catalogue import check_can_do
from serve_app.api.forms import parse
from serve_app.api.schemas import AudioForm, TranscriptionForm, TranslationForm
from serve_app.cli.backends import Backend, Report, Transcribed
from serve_app.cli.wishes import OutputFormat, Task, Wishes
from serve_app.engine.recognizer import BatchingRecognizer
from serve_app.models.catalogue import Catalogue
from serve_app.pipeline.decode import DecoderPool
from serve_app.pipeline.run import Pipeline
from serve_app.settings import Settings
from serve_app.transcript.collect import TranscriptCollector
from serve_app.transcript.protocols import StoredMedia, Transcriber
from serve_app.transcript.render import TIMED, no_diarizer, render
from serve_app.transcript.types import ChunkTranscribed, Transcript, TranscriptionFinished, TranscriptionOptions


class LocalBackend(Backend):
    """
    A pipeline and its recogniser, with the options and formats that the service would use for the same wishes.

    Args:
        transcriber: Instead of the real pipeline.
    """

    def __init__(self, settings: Settings, wishes: Wishes, transcriber: Transcriber | None = None) -> None:
        self._settings = settings
        self._catalogue = Catalogue(settings)
        self._wishes = wishes
        self._recognizer = BatchingRecognizer.from_settings(settings)
        self._decoders = DecoderPool(size=settings.pipeline.decoders, max_audio_s=settings.limits.max_audio_s)
        self._transcriber = transcriber or Pipeline(
            self._recognizer, self._decoders, chunks_in_flight=settings.pipeline.chunks_in_flight
        )

    async def aclose(self) -> None:
        await self._decoders.close()
        await self._recognizer.close()

    async def transcribe(self, path: Path, formats: Sequence[OutputFormat], report: Report) -> Transcribed:
        forms = {wanted: self._form(wanted) for wanted in formats}
        # What times need is done once for all formats.
        demanding = max(forms.values(), key=lambda form: form.response_format in TIMED)
        options = replace(self._options(demanding), needs_channels=OutputFormat.DIARIZED in forms)
        transcript = await self._run(path, options, report)
        if OutputFormat.DIARIZED in forms and transcript.channels < 2:
            raise no_diarizer()
        texts = {wanted: render(transcript, form.response_format, form.layout) for wanted, form in forms.items()}
        return Transcribed(texts, transcript.duration_s)

    async def _run(self, path: Path, options: TranscriptionOptions, report: Report) -> Transcript:
        collector, end = TranscriptCollector(options), None
        async with aclosing(self._transcriber.run(_reference(path), options)) as events:
            async for event in events:
                if isinstance(event, TranscriptionFinished):
                    end = event
                else:
                    collector.add(event)
                    report(_fraction(event))
        return collector.finish(end)

    def _form(self, wanted: OutputFormat) -> AudioForm:
        schema = TranslationForm if self._wishes.task is Task.TRANSLATE else TranscriptionForm
        return parse(schema, [*self._wishes.fields(), *self._wishes.layout(wanted)])

    def _options(self, form: AudioForm) -> TranscriptionOptions:
        model_id = self._catalogue.find(form.model)
        check_can_do(self._catalogue, model_id, form)
        return form.options(self._settings, model_id)


def _reference(path: Path) -> StoredMedia:
    with path.open("rb"):
        pass  # the decoder would call a file that is not there an upload that is gone
    return StoredMedia(str(path.absolute()))


def _fraction(chunk: ChunkTranscribed) -> float:
    """Of the file, as far as its header can be believed."""
    return min(chunk.end / chunk.declared_s, 1.0) if chunk.declared_s else 0.0
