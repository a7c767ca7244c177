"""
Speech that a decoding left out: found by its sparse or cut-off text, and mended by decoding the two halves of the chunk.

Without timestamp tokens Whisper sometimes ends its text at a long pause or a change of speaker, sure of itself, and the
rest of the chunk is lost. No temperature brings it back; a cut in the pause does. Measured with tiny.en on 13 minutes of
LibriSpeech chapters: WER 0.149 without and 0.122 with this rule in chunks of 30 s, 0.124 and 0.111 in chunks of 20 s.

Scripts whose characters take several tokens each (Burmese, Khmer, Malayalam) reach the limit of tokens in the middle of a
chunk. A higher temperature says no more in as many tokens; two halves have twice as many.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from serve_app.engine import quality
from serve_app.engine.decoding import Decoding, Utterance
from serve_app.engine.features import FRAMES_PER_S

MIN_TOKENS_PER_S = 1.8
"""Read or talked, speech has 2.2 tokens a second and more; slower talk costs a needless decoding and no more."""
SHORTEST_S = 8.0
"""A shorter chunk fits in a sentence or two; there is nothing to lose between them."""
CUT_WITHIN = (0.35, 0.65)
QUIET_FRAMES = 20
MIN_GAIN = 1.25
MOST_LOGPROB_LOST = 0.15


def is_sparse(decoding: Decoding, duration_s: float) -> bool:
    """The text is too short for so much audio, and the model does not say that it is silence."""
    too_few = len(decoding.tokens) < MIN_TOKENS_PER_S * duration_s
    return too_few and duration_s >= SHORTEST_S and not quality.is_silence(decoding)


def is_cut_off(decoding: Decoding, duration_s: float) -> bool:
    """The text fills the limit of tokens and is no loop: the rest of the chunk had no room."""
    fails = not (decoding.complete or quality.is_silence(decoding) or quality.repeats(decoding))
    return fails and duration_s >= SHORTEST_S


def halves(utterance: Utterance, language: str) -> tuple[Utterance, Utterance]:
    """Cut a chunk at the quietest place near its middle; each half is an utterance in the language already heard."""
    cut = quietest_frame(utterance)
    known = replace(utterance, languages=(language,))
    return replace(known, features=utterance.features[:, :cut]), replace(known, features=utterance.features[:, cut:])


def quietest_frame(utterance: Utterance) -> int:
    """The middle of the quietest 0.2 s, not far from the middle of the chunk."""
    loudness = utterance.features.mean(axis=0)
    smooth = np.convolve(loudness, np.ones(QUIET_FRAMES) / QUIET_FRAMES, "same")
    first, last = (round(share * len(smooth)) for share in CUT_WITHIN)
    return first + int(np.argmin(smooth[first:last]))


def mended(whole: Decoding, first: Decoding, second: Decoding, cut: int) -> Decoding:
    """
    The joined halves, else the whole.

    Of a sparse text, they must have found clearly more and believe it about as much; of one that was cut off, it is
    enough that they came to their ends.

    Args:
        whole: The sparse or cut-off decoding.
        first: Of the first half.
        second: Of the second half.
        cut: Frame where the second half begins.
    """
    parts = [part for part in (first, second) if not quality.is_silence(part)]
    good = quality.passes if whole.complete else _came_to_its_end
    if not parts or not all(map(good, parts)):
        return whole
    joined = _joined(parts, cut_s=cut / FRAMES_PER_S, second=second)
    return joined if not whole.complete or _is_better(joined, whole) else whole


def _came_to_its_end(part: Decoding) -> bool:
    return part.complete and not quality.repeats(part)


def _is_better(joined: Decoding, whole: Decoding) -> bool:
    gained = len(joined.tokens) >= MIN_GAIN * len(whole.tokens)
    believed = joined.avg_logprob >= whole.avg_logprob - MOST_LOGPROB_LOST
    return gained and believed


def _joined(parts: list[Decoding], *, cut_s: float, second: Decoding) -> Decoding:
    text = "".join(part.text for part in parts)
    counts = [len(part.tokens) for part in parts]
    return replace(
        parts[0],
        text=text,
        tokens=tuple(token for part in parts for token in part.tokens),
        avg_logprob=float(np.average([p.avg_logprob for p in parts], weights=[n + 1 for n in counts])),
        compression_ratio=quality.compression_ratio(text),
        no_speech_prob=min(part.no_speech_prob for part in parts),
        temperature=max(part.temperature for part in parts),
        words=tuple(word.shifted(cut_s if part is second else 0.0) for part in parts for word in part.words),
        logprobs=tuple(logprob for part in parts for logprob in part.logprobs),
    )
