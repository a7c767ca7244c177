"""Models in memory: what one is, and where they come from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import tokenizers
from faster_whisper.feature_extractor import FeatureExtractor
from faster_whisper.tokenizer import _LANGUAGE_CODES, Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens

from serve_app.models.types import PlacementChoice
from serve_app.transcript.types import Engine, Task

ENGLISH = "en"

_NO_MEMORY = re.compile(r"out of memory|_ALLOC_FAILED")
_FAULT = re.compile(r"\b(CUDA|cuBLAS|cuDNN) failed with|unspecified launch failure")
_UNSUITED = re.compile(
    r"invalid device function|no kernel image|PTX|driver version|no CUDA-capable device|_NOT_SUPPORTED|_MISMATCH"
)


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """
    A model ready to decode. Equal only to itself, so that it can be part of a batch key.

    Attributes:
        whisper: CTranslate2's model.
        vocabulary: Hugging Face tokenizer.
        extractor: Log-mel features with as many bands as the model wants.
        engine: What results say about it.
        choice: Why it runs where it does.
    """

    whisper: Any  # ctranslate2.models.Whisper, which has no types
    vocabulary: tokenizers.Tokenizer
    extractor: FeatureExtractor
    engine: Engine
    choice: PlacementChoice | None = None
    _voices: dict[tuple[str, Task], Tokenizer] = field(default_factory=dict)

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """ISO codes that the weights can do."""
        if not self.whisper.is_multilingual:
            return (ENGLISH,)
        return tuple(code for code in _LANGUAGE_CODES if self.vocabulary.token_to_id(f"<|{code}|>") is not None)

    @cached_property
    def end_of_text(self) -> int:
        """The first token that is no text."""
        return int(self.voice(ENGLISH, Task.TRANSCRIBE).eot)

    @cached_property
    def suppressed(self) -> list[int]:
        """Tokens that are never text: markers of speakers and sounds, and control tokens."""
        return list(get_suppressed_tokens(self.voice(ENGLISH, Task.TRANSCRIBE), [-1]))

    def voice(self, language: str, task: Task) -> Tokenizer:
        """The tokenizer that starts a transcript in a language and splits its words."""
        key = (language, task)
        if key not in self._voices:
            self._voices[key] = Tokenizer(self.vocabulary, self.whisper.is_multilingual, task.value, language)
        return self._voices[key]


def is_out_of_memory(error: BaseException) -> bool:
    """CTranslate2 raises RuntimeError for everything; only its words tell."""
    return isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)) is not None


def is_device_fault(error: BaseException) -> bool:
    """
    Whether CUDA failed as only a new process may mend it: after most of its errors, each further call of this one fails.

    Not if it lacks memory, nor if device, driver and CTranslate2 do not suit one another, which a new process would meet too.
    """
    words = str(error)
    return _FAULT.search(words) is not None and not is_out_of_memory(error) and not _UNSUITED.search(words)


class Loader(Protocol):
    """Where models come from; every call blocks."""

    def weigh(self, model_id: str) -> int:
        """
        Fetch a model's files if need be; gives what it needs of the GPU, in bytes, 0 on a CPU.

        Raises:
            ModelLoadFailed, PullFailed: It cannot be had; says what to do.
        """
        ...

    def load(self, model_id: str, *, on_cpu: bool = False) -> LoadedModel:
        """
        Read a model into memory and decode once with it.

        Args:
            on_cpu: Though there is a GPU.

        Raises:
            ModelLoadFailed: It cannot be loaded here; says what to do.
            OutOfMemory: The device has no room for it.
            RecognizerUnavailable: The device has failed, and the process is to be replaced.
        """
        ...

    def measured(self, model_id: str, taken_bytes: int) -> int:
        """Tell what a load took of the GPU; gives what the model needs, by that."""
        ...
