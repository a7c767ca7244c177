"""Word error rate: Whisper's English normaliser, then the edits of all clips over the words of all clips."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import jiwer
from whisper_normalizer.english import EnglishTextNormalizer


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Edits that turn what was heard into what was said."""

    edits: int
    words: int  # of the reference

    @property
    def rate(self) -> float:
        return self.edits / self.words if self.words else 0.0

    def __add__(self, other: WordErrors) -> WordErrors:
        return WordErrors(self.edits + other.edits, self.words + other.words)

    def __str__(self) -> str:
        return f"{self.rate:.4f} ({self.edits} of {self.words} words)"


def word_errors(pairs: Iterable[tuple[str, str]]) -> WordErrors:
    """The errors of a corpus of (reference, hypothesis); a reference without words counts for nothing."""
    normalise = EnglishTextNormalizer()
    errors = WordErrors(0, 0)
    for reference, hypothesis in pairs:
        if said := normalise(reference):
            heard = jiwer.process_words(said, normalise(hypothesis))
            edits = heard.substitutions + heard.deletions + heard.insertions
            errors += WordErrors(edits, len(said.split()))
    return errors
