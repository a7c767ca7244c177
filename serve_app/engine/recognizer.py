"""The recogniser: chunks of many requests, batched through CTranslate2, and decoded again where they went wrong."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import ctranslate2

from serve_app.engine import omissions, quality
from serve_app.engine.batcher import Batcher
from serve_app.engine.capabilities import check_task, choose_languages
from serve_app.engine.decoding import Decoding, PassKey, Utterance
from serve_app.engine.devices import thread_count
from serve_app.engine.features import extract
from serve_app.engine.gpu import open_gpu
from serve_app.engine.keeper import ModelKeeper
from serve_app.engine.loading import ModelLoader
from serve_app.engine.measured import MeasuredBatches, count_chunk
from serve_app.engine.models import LoadedModel, is_out_of_memory
from serve_app.engine.outcome import choose, recognized
from serve_app.engine.passes import batch_wait_s, largest_batch, passes
from serve_app.engine.prompts import prefix_tokens
from serve_app.engine.right_of_way import RightOfWay, decode_in_turn
from serve_app.errors import ModelNotFound, OutOfMemory, RecognizerUnavailable
from serve_app.models.catalogue import Catalogue
from serve_app.settings import Device, ModelSettings, Settings, read_hub_token
from serve_app.settings.memory import give_back_large_blocks
from serve_app.settings.niceness import give_way
from serve_app.telemetry.tally import Tally
from serve_app.transcript.types import ChunkRequest, RecognizedChunk

logger = logging.getLogger(__name__)


class BatchingRecognizer:
    """
    The `Recognizer` that runs models in this process.

    All blocking work is done in threads of its own, so the event loop stays prompt: some decode, two prepare chunks
    meanwhile, and models load in others.

    Args:
        catalogue: Model id → what it can do; looked at anew for each chunk.
        models: Who loads and frees them.
        max_batch_size: Chunks of up to 15 s recognised together; of longer ones fewer, see `largest_batch`.
        batch_wait_s: How long an idle recogniser waits for a batch to fill.
        batches_at_once: Batches that are decoded side by side.
        stuck_after_s: A batch that runs for longer will never end.
        tally: Where chunks and batches are counted.
    """

    def __init__(
        self,
        catalogue: Mapping[str, ModelSettings],
        models: ModelKeeper,
        *,
        max_batch_size: int = 8,
        batch_wait_s: float = 0.003,
        batches_at_once: int = 1,
        stuck_after_s: float = math.inf,
        tally: Tally | None = None,
    ) -> None:
        self._catalogue = catalogue
        self.models = models
        self._tally = tally or Tally()
        self._stuck_after_s = stuck_after_s
        largest = partial(largest_batch, max_batch_size)
        self._batches = MeasuredBatches(self._decode, largest, self._tally)
        self._preparing = ThreadPoolExecutor(2, thread_name_prefix="prepare", initializer=give_way)
        # As many again for batches in the background, which have their own places.
        self._decoding = ThreadPoolExecutor(2 * batches_at_once, thread_name_prefix="decode", initializer=give_way)
        self._right_of_way = RightOfWay()
        self._batcher: Batcher[PassKey, Utterance, Decoding] = Batcher(
            self._batches,
            largest=largest,
            in_background=lambda key: key.background,
            wait_s=batch_wait_s,
            concurrency=batches_at_once,
        )

    @classmethod
    def from_settings(
        cls, settings: Settings, *, replica_id: str = "", tally: Tally | None = None
    ) -> BatchingRecognizer:
        """
        A recogniser for the settings' catalogue on this machine; loads nothing yet. Changes how this process frees memory.

        Args:
            replica_id: What reports of its models say.
            tally: Where this process counts.
        """
        give_back_large_blocks()
        recognizer = settings.recognizer
        batches_at_once = min(recognizer.batches_at_once, thread_count(recognizer.threads))
        on_gpu = _runs_on_gpu(recognizer.device)
        gpu = open_gpu("cuda") if on_gpu else None
        catalogue = Catalogue(settings)
        load = ModelLoader(
            catalogue,
            models_dir=catalogue.store.root,
            offline=settings.offline,
            token=read_hub_token(settings.hub),
            device=recognizer.device,
            compute_type=recognizer.compute_type,
            threads=recognizer.threads,
            batches_at_once=batches_at_once,
            gpu=gpu,
            margin_bytes=settings.lifecycle.vram_margin_bytes,
            budget_bytes=settings.lifecycle.vram_budget_bytes,
        )
        return cls(
            catalogue,
            ModelKeeper(load, settings.lifecycle, gpu=gpu, on_gpu=on_gpu, replica_id=replica_id, tally=tally),
            max_batch_size=recognizer.max_batch_size,
            batch_wait_s=batch_wait_s(recognizer, on_gpu=on_gpu),
            batches_at_once=batches_at_once,
            stuck_after_s=recognizer.stuck_after_s,
            tally=tally,
        )

    async def recognize(self, request: ChunkRequest) -> RecognizedChunk:
        """
        Recognise one chunk. Cancelling the call frees its place in the queue.

        Where others hold the GPU's memory it waits, also when a batch finds too little.

        Raises:
            ModelNotFound: The model id is not in the catalogue.
            ModelLoadFailed: The model cannot be loaded here, with what to do about it.
            ModelNotReady: The model was unloaded by force.
            InsufficientMemory: The device is too small for this chunk.
            UnsupportedLanguage: The model cannot do the language or the task.
            RecognizerUnavailable: The recogniser is closed, or the GPU has failed.
            ValueError: The chunk is longer than 30 s.
        """
        model_id = request.options.model_id
        self._check(model_id)
        work = partial(self._recognize, request=request)
        return await self.models.use(model_id, work, began_at=request.began_at)

    async def preload(self, model_ids: Sequence[str]) -> None:
        """
        Load models before they are needed, side by side.

        Raises:
            ModelNotFound, ModelLoadFailed, RecognizerUnavailable: As `recognize`.
        """
        for model_id in model_ids:
            self._check(model_id)
        await self.models.preload(model_ids)

    def check_health(self) -> None:
        """
        Raises:
            RecognizerUnavailable: Only another process can go on.
        """
        if self.models.must_recycle:
            raise RecognizerUnavailable("The GPU has failed, or its memory did not come back: the log says which.")
        if (longest_s := self._batches.longest_s) > self._stuck_after_s:
            hangs = f"A batch has not ended for {longest_s:.0f} s: it hangs, perhaps in the device's driver."
            logger.error("this process is to be replaced: %s", hangs)
            raise RecognizerUnavailable(hangs)

    async def close(self) -> None:
        """Refuse what is queued, wait for the running batch, and free the models."""
        await self._batcher.close()
        await self.models.close()
        self._preparing.shutdown(wait=False, cancel_futures=True)
        self._decoding.shutdown(wait=False)

    def _check(self, model_id: str) -> None:
        if model_id not in self._catalogue:
            known = ", ".join(sorted(self._catalogue))
            raise ModelNotFound(f"There is no model {model_id}; the catalogue has {known}.", param="model")

    async def _recognize(self, model: LoadedModel, request: ChunkRequest) -> RecognizedChunk:
        loop = asyncio.get_running_loop()
        utterance = await loop.run_in_executor(self._preparing, self._prepare, model, request)
        decoding, attempts = await self._decode_well(model, utterance, request)
        count_chunk(self._tally, request.options.model_id, utterance, attempts)
        return recognized(decoding, model.engine, attempts=attempts, text_of=model.vocabulary.decode)

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

    async def _decode_well(
        self, model: LoadedModel, utterance: Utterance, request: ChunkRequest
    ) -> tuple[Decoding, int]:
        """The best decoding of a chunk, and how many it took."""
        decodings: list[Decoding] = []
        for key in passes(model, utterance, request.options, background=request.background):
            decodings.append(await self._batcher.submit(utterance, key, index=request.index))
            if omissions.is_cut_off(decodings[-1], utterance.duration_s):
                return await self._decode_halves(decodings[-1], len(decodings), model, utterance, request)
            if quality.passes(decodings[-1]):
                break
        best = choose(decodings)
        if not omissions.is_sparse(best, utterance.duration_s):
            return best, len(decodings)
        return await self._decode_halves(best, len(decodings), model, utterance, request)

    async def _decode_halves(
        self, whole: Decoding, attempts: int, model: LoadedModel, utterance: Utterance, request: ChunkRequest
    ) -> tuple[Decoding, int]:
        halves = omissions.halves(utterance, whole.language)
        (first, n), (second, m) = await asyncio.gather(*(self._decode_well(model, half, request) for half in halves))
        cut = halves[0].features.shape[1]
        return omissions.mended(whole, first, second, cut), attempts + n + m

    async def _decode(self, key: PassKey, batch: Sequence[Utterance]) -> Sequence[Decoding]:
        try:
            # In a thread that runs to its end, also when all who asked for the batch have gone.
            with self.models.at_work(key.model.engine.model_id):
                work = partial(decode_in_turn, self._right_of_way, key, batch)
                return await asyncio.get_running_loop().run_in_executor(self._decoding, work)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise OutOfMemory(f"The device has no memory for a chunk: {error}") from error
        middle = len(batch) // 2
        return [*await self._decode(key, batch[:middle]), *await self._decode(key, batch[middle:])]


def _runs_on_gpu(device: Device) -> bool:
    return device is Device.CUDA or (device is Device.AUTO and ctranslate2.get_cuda_device_count() > 0)
