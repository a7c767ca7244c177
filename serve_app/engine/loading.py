"""From a model id to a model in memory that is ready for its first chunk."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import ctranslate2
import numpy as np
import tokenizers
from faster_whisper.feature_extractor import FeatureExtractor

from serve_app.engine.decoding import PassKey, Utterance, decode
from serve_app.engine.devices import Placement, Room, choose_placement
from serve_app.engine.features import extract, window_for
from serve_app.engine.models import ENGLISH, LoadedModel, Loader, is_device_fault, is_out_of_memory
from serve_app.engine.vram import VramNeeds
from serve_app.errors import GpuLost, ModelLoadFailed, OutOfMemory, RecognizerUnavailable
from serve_app.models.protocols import Gpu
from serve_app.models.sources import ModelFiles, find_model
from serve_app.settings import ComputeType, Device, ModelSettings
from serve_app.transcript.types import SAMPLE_RATE_HZ, Engine, Task

logger = logging.getLogger(__name__)

_LIBRARY = re.compile(r"\blib[\w.+-]*\.so[.\d]*")


class ModelLoader(Loader):
    """
    Loads models of a catalogue on this machine. Safe to use from several threads, for one model from one at a time.

    Args:
        catalogue: Model id → where its weights are; looked at anew for each load.
        models_dir: Where downloads are kept.
        offline: Never open a connection.
        token: For the model hub; None: what its library finds.
        device: Where to run.
        compute_type: CTranslate2's number type.
        threads: CPU threads of a batch; 0 = one for each core.
        batches_at_once: Batches that a model decodes side by side.
        gpu: Has the number type chosen by the memory that there is; None: it is not asked.
        margin_bytes: What is to be left free of it.
        budget_bytes: More than this is not to be taken; 0 = all.
    """

    def __init__(
        self,
        catalogue: Mapping[str, ModelSettings],
        *,
        models_dir: Path,
        offline: bool = False,
        token: str | None = None,
        device: Device = Device.AUTO,
        compute_type: ComputeType = ComputeType.AUTO,
        threads: int = 0,
        batches_at_once: int = 1,
        gpu: Gpu | None = None,
        margin_bytes: int = 0,
        budget_bytes: int = 0,
    ) -> None:
        self._catalogue = catalogue
        self._models_dir = models_dir
        self._offline = offline
        self._token = token
        self._wanted = (device, compute_type, threads)
        self._batches_at_once = batches_at_once
        self._gpu = gpu
        self._margin_bytes = margin_bytes
        self._budget_bytes = budget_bytes
        self._needs = VramNeeds()
        self._placements: dict[str, Placement] = {}

    def weigh(self, model_id: str) -> int:
        # First, because it is quick: on a machine without CUDA nobody wants to wait for a download to be told so.
        placement = choose_placement(*self._wanted)
        files = self._find(model_id)
        room = self._room(model_id, files) if placement.device == "cuda" else None
        if room is not None:
            placement = choose_placement(*self._wanted, room=room)
        self._placements[model_id] = placement
        return self._need_bytes(model_id, files)

    def load(self, model_id: str, *, on_cpu: bool = False) -> LoadedModel:
        placement = self._on_cpu() if on_cpu else self._placements[model_id]
        # Where there is no GPU there is nothing to wonder at.
        level = logging.DEBUG if self._gpu is None and placement.device == "cpu" else logging.INFO
        logger.log(level, "%s runs on %s in %s: %s", model_id, placement.device, placement.compute_type, placement.why)
        return load_model(model_id, self._find(model_id), placement, self._batches_at_once)

    def measured(self, model_id: str, taken_bytes: int) -> int:
        self._needs.measured(model_id, self._placements[model_id].compute_type, taken_bytes)
        return self._need_bytes(model_id, self._find(model_id))

    def _find(self, model_id: str) -> ModelFiles:
        return find_model(
            self._catalogue[model_id], models_dir=self._models_dir, offline=self._offline, token=self._token
        )

    def _need_bytes(self, model_id: str, files: ModelFiles) -> int:
        placement = self._placements[model_id]
        if placement.device != "cuda":
            return 0
        return self._needs.need_bytes(model_id, files.directory, placement.compute_type)

    def _room(self, model_id: str, files: ModelFiles) -> Room | None:
        try:
            memory = self._gpu.memory() if self._gpu else None
        except GpuLost:
            return None
        if memory is None:
            return None
        free_bytes = memory.free_bytes + memory.ours_bytes - self._margin_bytes
        if self._budget_bytes:
            free_bytes = min(free_bytes, self._budget_bytes)
        return Room(free_bytes, partial(self._needs.need_bytes, model_id, files.directory))

    def _on_cpu(self) -> Placement:
        placement = choose_placement(Device.CPU, threads=self._wanted[2])
        return replace(placement, why="the GPU has no room for it, and lifecycle.cpu_fallback is set")


def load_model(model_id: str, files: ModelFiles, placement: Placement, batches_at_once: int = 1) -> LoadedModel:
    """
    Read a model's weights into memory and decode once with it. Blocks for seconds.

    Raises:
        ModelLoadFailed: The files are damaged or are no Whisper model, or the device lacks a library.
        OutOfMemory: The device has no room for it.
        RecognizerUnavailable: The device has failed; another process may load it.
    """
    try:
        model = _read(model_id, files, placement, batches_at_once)
        warm_up(model)  # CUDA's libraries are first looked for when something is computed
    except Exception as error:  # tokenizers raises plain Exception
        raise _load_error(model_id, error) from error
    return model


def _read(model_id: str, files: ModelFiles, placement: Placement, batches_at_once: int) -> LoadedModel:
    whisper = ctranslate2.models.Whisper(
        str(files.directory),
        device=placement.device,
        compute_type=placement.compute_type,
        intra_threads=placement.threads,
        inter_threads=batches_at_once,  # they share the weights
        flash_attention=placement.flash_attention,
    )
    vocabulary = tokenizers.Tokenizer.from_file(str(files.directory / "tokenizer.json"))
    engine = Engine(model_id, files.revision, whisper.compute_type, whisper.device, _versions())
    return LoadedModel(whisper, vocabulary, _extractor(files.directory, whisper.n_mels), engine, placement.choice)


def to_host_memory(model: LoadedModel) -> None:
    """Take a model's weights off the GPU, from where `from_host_memory` has them back in a fraction of a second."""
    model.whisper.unload_model(to_cpu=True)


def from_host_memory(model_id: str, model: LoadedModel) -> None:
    """
    Bring weights back to the GPU, and decode once.

    Raises:
        ModelLoadFailed, OutOfMemory, RecognizerUnavailable: As `load_model`.
    """
    try:
        model.whisper.load_model()
        warm_up(model)
    except Exception as error:
        raise _load_error(model_id, error) from error


def warm_up(model: LoadedModel) -> None:
    """The first batch pays for memory and code that later ones find ready; let it be nobody's."""
    noise = np.random.default_rng(0).integers(-3000, 3000, SAMPLE_RATE_HZ, dtype=np.int16)
    utterance = Utterance(
        extract(model.extractor, noise), (), Task.TRANSCRIBE, (ENGLISH,), wants_words=False, wants_logprobs=False
    )
    decode(PassKey(model, window_for(utterance.duration_s), 0, beam_size=5, temperature=0.0), [utterance])


def _load_error(model_id: str, error: Exception) -> Exception:
    if is_out_of_memory(error):
        return OutOfMemory(f"There is no room for {model_id} in the device's memory: {error}")
    if is_device_fault(error):
        return RecognizerUnavailable(f"The GPU failed while {model_id} was loaded: {error}")
    missing = _LIBRARY.search(str(error))
    if missing:
        return ModelLoadFailed(
            f"{model_id} cannot run on the GPU, because {missing[0]} is not found: `rayscribe doctor` says which package has"
            f" it; or set recognizer.device: cpu to run on the CPU. ({error})"
        )
    return ModelLoadFailed(f"{model_id} cannot be loaded, its files are damaged or of another kind: {error}")


def _versions() -> tuple[tuple[str, str], ...]:
    return tuple((name, importlib.metadata.version(name)) for name in ("ctranslate2", "faster-whisper"))


def _extractor(directory: Path, mel_bands: int) -> FeatureExtractor:
    path = directory / "preprocessor_config.json"
    stated = json.loads(path.read_text(encoding="utf-8")).get("feature_size") if path.is_file() else None
    return FeatureExtractor(feature_size=stated or mel_bands)
