"""
One pass of a batch through the model: encode, detect languages, generate, align.

Without timestamp tokens, because short windows go wrong with them. What is decoded again, and how, is the recogniser's
decision; each pass is a batch of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ctranslate2
import numpy as np
from faster_whisper.tokenizer import Tokenizer
from numpy.typing import NDArray

from serve_app.engine import quality
from serve_app.engine.alignment import Alignment, words_of
from serve_app.engine.features import FRAMES_PER_S, Features, stack
from serve_app.engine.models import LoadedModel
from serve_app.engine.prompts import MAX_TOKENS
from serve_app.engine.tokens import token_logprobs
from serve_app.transcript.types import Task, TokenLogprob, Word

SAMPLES_PER_CHUNK = 5
"""Texts drawn for a chunk at a temperature above 0; the most probable is kept (Whisper's best_of)."""
TOKENS_PER_S = 12
"""
More than most say in a second of window: a text that reaches the limit runs on by itself, or is in a script whose
characters take several tokens each, and is cut off.
"""
FEWEST_ALIGNED_FRAMES = 50
"""CTranslate2 finds no path in next to no audio; words are put inside the chunk afterwards anyway."""


@dataclass(frozen=True, slots=True)
class PassKey:
    """What all chunks of a batch share: CTranslate2 takes these once per call, or refuses to mix them."""

    model: LoadedModel
    window: int  # frames
    prompt_length: int  # tokens before the start of the transcript
    beam_size: int
    temperature: float
    background: bool = False  # not a matter of CTranslate2: who is waited for does not take along who is not


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """A chunk made ready for any pass."""

    features: Features  # shape (mel bands, frames), without padding
    prefix: tuple[int, ...]
    task: Task
    languages: tuple[str, ...]  # candidates; detection chooses if there are several
    wants_words: bool
    wants_logprobs: bool

    @property
    def wants_alignment(self) -> bool:
        return self.wants_words or self.wants_logprobs

    @property
    def duration_s(self) -> float:
        return float(self.features.shape[1] / FRAMES_PER_S)


@dataclass(frozen=True, slots=True)
class Tongue:
    """A language and how sure that is."""

    language: str
    probability: float


@dataclass(frozen=True, slots=True)
class Decoding:
    """What one pass made of one chunk."""

    text: str
    tokens: tuple[int, ...]
    language: str
    language_probability: float
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    complete: bool  # False: stopped at the limit of tokens
    words: tuple[Word, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()


def decode(key: PassKey, batch: Sequence[Utterance], before_step: Callable[[], None] = lambda: None) -> list[Decoding]:
    """
    Decode a batch once. Blocks; the model's own threads do the work.

    Args:
        before_step: Called before each call of the model; may block.

    Raises:
        RuntimeError: From CTranslate2, such as out of memory.
    """
    encoded = _encode(key, batch, before_step)
    before_step()
    tongues = _tongues(key.model, encoded, batch)
    decodings = _generate(key, encoded, batch, tongues)
    before_step()
    return _align(key.model, encoded, batch, decodings)


def _encode(key: PassKey, batch: Sequence[Utterance], before_step: Callable[[], None]) -> Any:
    """The encoder's output for a batch, shape (chunks, positions, width)."""
    features = stack([u.features for u in batch], key.window)
    whisper = key.model.whisper
    if whisper.device == "cpu":
        # One by one: as fast there, and attention in the encoder takes memory in proportion to the chunks and to the square
        # of the window (four chunks of 30 s, tiny.en: 200 MB).
        return _view(np.concatenate([_encoded_row(whisper, row, before_step) for row in features]))
    before_step()
    # Alignment takes rows out of the encoder's output, which only host memory allows.
    return whisper.encode(_view(features), to_cpu=any(u.wants_alignment for u in batch))


def _encoded_row(whisper: Any, row: Features, before_step: Callable[[], None]) -> NDArray[np.float32]:
    before_step()
    return np.asarray(whisper.encode(_view(row[None])))


def _tongues(model: LoadedModel, encoded: Any, batch: Sequence[Utterance]) -> list[Tongue]:
    """The language of each chunk: the only candidate, or the one that the model hears."""
    if all(len(u.languages) == 1 for u in batch):
        return [Tongue(u.languages[0], 1.0) for u in batch]
    return [_tongue(u, heard) for u, heard in zip(batch, model.whisper.detect_language(encoded), strict=True)]


def _tongue(utterance: Utterance, heard: Sequence[tuple[str, float]]) -> Tongue:
    if len(utterance.languages) == 1:
        return Tongue(utterance.languages[0], 1.0)
    candidates = {f"<|{code}|>": code for code in utterance.languages}
    possible = [(candidates[token], p) for token, p in heard if token in candidates]
    language, probability = possible[0]  # CTranslate2 puts the most probable first
    return Tongue(language, probability / (sum(p for _, p in possible) or 1.0))


def _generate(key: PassKey, encoded: Any, batch: Sequence[Utterance], tongues: Sequence[Tongue]) -> list[Decoding]:
    prompts = [_prompt(key.model, u, t.language) for u, t in zip(batch, tongues, strict=True)]
    limit = min(token_limit(key.window), MAX_TOKENS - len(prompts[0]))
    results = key.model.whisper.generate(
        encoded,
        prompts,
        # CTranslate2 gives the text half of max_length, or what the prompt leaves of it if that is less.
        max_length=min(MAX_TOKENS, max(2 * limit, limit + len(prompts[0]))),
        return_scores=True,
        return_no_speech_prob=True,
        suppress_tokens=key.model.suppressed,
        **_search(key),
    )
    return [_decoding(key, tongue, result, limit) for tongue, result in zip(tongues, results, strict=True)]


def token_limit(window: int) -> int:
    """Most tokens of a text from a window of so many frames; at most half of the decoder's positions, as in Whisper."""
    return min(MAX_TOKENS // 2, round(window / FRAMES_PER_S * TOKENS_PER_S))


def _prompt(model: LoadedModel, utterance: Utterance, language: str) -> list[int]:
    voice = model.voice(language, utterance.task)
    return [*utterance.prefix, *voice.sot_sequence, voice.no_timestamps]


def _search(key: PassKey) -> dict[str, Any]:
    if key.temperature > 0:
        return {
            "beam_size": 1,
            "num_hypotheses": SAMPLES_PER_CHUNK,
            "sampling_topk": 0,
            "sampling_temperature": key.temperature,
        }
    return {"beam_size": key.beam_size}


def _decoding(key: PassKey, tongue: Tongue, result: Any, limit: int) -> Decoding:
    generated = result.sequences_ids[0]
    tokens = tuple(t for t in generated if t < key.model.end_of_text)
    text = key.model.vocabulary.decode(tokens)
    return Decoding(
        text=text,
        tokens=tokens,
        language=tongue.language,
        language_probability=tongue.probability,
        temperature=key.temperature,
        # CTranslate2's score is the mean without the end token; Whisper's rules count that too.
        avg_logprob=result.scores[0] * len(generated) / (len(generated) + 1),
        compression_ratio=quality.compression_ratio(text),
        no_speech_prob=result.no_speech_prob,
        complete=len(generated) < limit,
    )


def _align(
    model: LoadedModel, encoded: Any, batch: Sequence[Utterance], decodings: Sequence[Decoding]
) -> list[Decoding]:
    """Add words and log-probabilities where wanted. One call for each language and task; empty texts have none."""
    aligned = list(decodings)
    wanted = [i for i, u in enumerate(batch) if u.wants_alignment and decodings[i].tokens]
    for (language, task), rows in _grouped(wanted, lambda i: (decodings[i].language, batch[i].task)).items():
        voice = model.voice(language, task)
        results = model.whisper.align(
            _rows(encoded, rows),
            voice.sot_sequence,
            [list(decodings[i].tokens) for i in rows],
            [max(batch[i].features.shape[1], FEWEST_ALIGNED_FRAMES) for i in rows],
        )
        for i, result in zip(rows, results, strict=True):
            aligned[i] = _with_alignment(decodings[i], batch[i], voice, result)
    return aligned


def _grouped(rows: Sequence[int], kind: Callable[[int], tuple[str, Task]]) -> dict[tuple[str, Task], list[int]]:
    groups: dict[tuple[str, Task], list[int]] = {}
    for row in rows:
        groups.setdefault(kind(row), []).append(row)
    return groups


def _rows(encoded: Any, rows: Sequence[int]) -> Any:
    if len(rows) == encoded.shape[0]:
        return encoded
    return _view(np.ascontiguousarray(np.asarray(encoded)[list(rows)]))


def _view(array: NDArray[np.float32]) -> Any:
    return ctranslate2.StorageView.from_array(array)


def _with_alignment(decoding: Decoding, utterance: Utterance, voice: Tokenizer, result: Any) -> Decoding:
    alignment = Alignment(result.alignments, result.text_token_probs)
    words = words_of(alignment, decoding.tokens, voice, utterance.duration_s) if utterance.wants_words else ()
    logprobs = (
        token_logprobs(voice.tokenizer, decoding.tokens, result.text_token_probs) if utterance.wants_logprobs else ()
    )
    return replace(decoding, words=words, logprobs=logprobs)
