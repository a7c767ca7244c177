"""The recogniser: chunks of many requests, batched through CTranslate2, and decoded again where they went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serve_app.engine import quality
from serve_app.engine.batcher import Batcher
from serve_app.engine.capabilities import check_task, choose_languages
from serve_app.engine.decoding import Decoding, PassKey, Utterance, decode
from serve_app.engine.devices import choose_placement
from serve_app.engine.features import FULL_WINDOW, extract, window_for
from serve_app.engine.models import ENGLISH, LoadedModel, ModelShelf, is_out_of_memory, load_model
from serve_app.engine.outcome import choose, recognized
from serve_app.engine.prompts import prefix_tokens
from serve_app.engine.sources import find_model
from serve_app.errors import ModelNotFound, OutOfMemory
from serve_app.settings import ComputeType, Device, ModelSettings
from serve_app.transcript.types import ChunkRequest, DecodingOptions, RecognizedChunk, Task


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How a recogniser uses its machine; the settings of the same names say what each is."""

    models_dir: Path
    offline: bool = False
    device: Device = Device.AUTO
    compute_type: ComputeType = ComputeType.AUTO
    threads: int = 0
    max_batch_size: int = 8
    batch_wait_ms: float = 3.0


class BatchingRecognizer:
    """
    The `Recognizer` that runs models in this process.

    All blocking work is done in threads of its own, so the event loop stays prompt: one decodes, two prepare chunks
    meanwhile, and models load in others.

    Args:
        catalogue: Model id → where its weights are and what it can do.
        options: How to use the machine.
    """

    def __init__(self, catalogue: Mapping[str, ModelSettings], options: EngineOptions) -> None:
        self._catalogue = dict(catalogue)
        self._options = options
        self._models = ModelShelf(self._load)
        self._preparing = ThreadPoolExecutor(max_workers=2, thread_name_prefix="prepare")
        self._decoding = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode")
        self._batcher: Batcher[PassKey, Utterance, Decoding] = Batcher(
            self._decode, max_batch_size=options.max_batch_size, wait_s=options.batch_wait_ms / 1000
        )

    async def recognize(self, request: ChunkRequest) -> RecognizedChunk:
        """
        Recognise one chunk. Cancelling the call frees its place in the queue.

        Raises:
            ModelNotFound: The model id is not in the catalogue.
            ModelLoadFailed: The model cannot be loaded here, with what to do about it.
            OutOfMemory: The device has no room for the model or the batch.
            UnsupportedLanguage: The model cannot do the language or the task.
            RecognizerUnavailable: The recogniser is closed.
            ValueError: The chunk is longer than 30 s.
        """
        model = await self._model(request.options.model_id)
        loop = asyncio.get_running_loop()
        utterance = await loop.run_in_executor(self._preparing, self._prepare, model, request)
        decodings: list[Decoding] = []
        for key in passes(model, utterance, request.options):
            decodings.append(await self._batcher.submit(utterance, key, index=request.index))
            if quality.passes(decodings[-1]):
                break
        return recognized(choose(decodings), model.engine, attempts=len(decodings), text_of=model.vocabulary.decode)

    async def preload(self, model_ids: Sequence[str]) -> None:
        """
        Load models before they are needed, side by side.

        Raises:
            ModelNotFound, ModelLoadFailed, OutOfMemory: As `recognize`.
        """
        await asyncio.gather(*map(self._model, model_ids))

    async def close(self) -> None:
        """Refuse what is queued, wait for the running batch, and free the models."""
        await self._batcher.close()
        self._models.close()
        self._preparing.shutdown(wait=False, cancel_futures=True)
        self._decoding.shutdown(wait=False)

    async def _model(self, model_id: str) -> LoadedModel:
        if model_id not in self._catalogue:
            known = ", ".join(sorted(self._catalogue))
            raise ModelNotFound(f"There is no model {model_id}; the catalogue has {known}.", param="model")
        return await self._models.get(model_id)

    def _load(self, model_id: str) -> LoadedModel:
        options = self._options
        # First, because it is quick: on a machine without CUDA nobody wants to wait for a download to be told so.
        placement = choose_placement(options.device, options.compute_type, options.threads)
        files = find_model(self._catalogue[model_id], models_dir=options.models_dir, offline=options.offline)
        model = load_model(model_id, files, placement)
        _warm_up(model)
        return model

    def _prepare(self, model: LoadedModel, request: ChunkRequest) -> Utterance:
        options = request.options
        settings = self._catalogue[options.model_id]
        check_task(options.model_id, settings, model.languages, options.task)
        languages = choose_languages(options.model_id, settings, model.languages, options)
        prefix = prefix_tokens(
            model.voice(languages[0], options.task),
            hotwords=options.hotwords,
            prompt=options.prompt,
            previous_text=request.previous_text,
        )
        return Utterance(
            extract(model.extractor, request.samples),
            tuple(prefix),
            options.task,
            languages,
            wants_words=options.word_times,
            wants_logprobs=options.logprobs,
        )

    async def _decode(self, key: PassKey, batch: Sequence[Utterance]) -> Sequence[Decoding]:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._decoding, decode, key, batch)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise OutOfMemory(f"The device has no memory for a batch of {len(batch)}: {error}") from error
            raise


def passes(model: LoadedModel, utterance: Utterance, options: DecodingOptions) -> Iterator[PassKey]:
    """
    The decodings to try in turn: the first temperature in the chunk's own window, then in the full one, then the other
    temperatures there.
    """
    window = window_for(utterance.duration_s)
    first, *others = options.temperatures
    tries = [(window, first)] if window == FULL_WINDOW else [(window, first), (FULL_WINDOW, first)]
    for frames, temperature in [*tries, *((FULL_WINDOW, t) for t in others)]:
        yield PassKey(model, frames, len(utterance.prefix), options.beam_size, temperature)


def _warm_up(model: LoadedModel) -> None:
    """The first batch pays for memory and code that later ones find ready; let it be nobody's."""
    noise = np.random.default_rng(0).integers(-3000, 3000, 16_000, dtype=np.int16)
    utterance = Utterance(
        extract(model.extractor, noise), (), Task.TRANSCRIBE, (ENGLISH,), wants_words=False, wants_logprobs=False
    )
    decode(PassKey(model, window_for(utterance.duration_s), 0, beam_size=5, temperature=0.0), [utterance])
