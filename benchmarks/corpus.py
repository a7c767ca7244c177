"""The recordings that a bench is run on, and the choices made among them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.failure import BenchFailed

EXACT = "in source repo/package"  # references that came with their recording; others were recalled or matched by ASR
FORMAT_SETS = frozenset({"formats_derived", "containers"})  # a few sentences over and over, in many containers
SHORT_S = 60.0
LONG_FILE = "longform/en_librispeech_test_other_10chapters.mp3"


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording and what is said in it."""

    path: Path
    name: str  # relative to the folder of the manifest
    duration_s: float
    reference: str

    @property
    def set_name(self) -> str:
        return self.name.split("/")[0]

    @property
    def is_short(self) -> bool:
        return self.duration_s <= SHORT_S


@dataclass(frozen=True, slots=True)
class Corpus:
    """English recordings with exact text."""

    clips: tuple[Clip, ...]

    def recordings(self) -> list[Clip]:
        """Short clips, each of another sentence."""
        return [clip for clip in self.clips if clip.is_short and clip.set_name not in {*FORMAT_SETS, "longform"}]

    def formats(self) -> list[Clip]:
        """The same few sentences in many containers, codecs and kinds of noise."""
        return [clip for clip in self.clips if clip.is_short and clip.set_name in FORMAT_SETS]

    def between(self, shortest_s: float, longest_s: float) -> list[Clip]:
        """Recordings of some length."""
        return [clip for clip in self.recordings() if shortest_s <= clip.duration_s <= longest_s]

    def long_file(self) -> Clip:
        """
        The long recording that figures are known of, or the longest there is.

        Raises:
            BenchFailed: None is longer than a minute.
        """
        known = [clip for clip in self.clips if clip.name == LONG_FILE]
        if known or (known := [clip for clip in self.clips if not clip.is_short]):
            return max(known, key=lambda clip: clip.duration_s)
        raise BenchFailed(f"the audio folder has no English recording longer than {SHORT_S:.0f} s with exact text")

    def long_files(self) -> list[Clip]:
        """What a file of hours is made of: the long recordings, or all where there is none."""
        return [clip for clip in self.clips if not clip.is_short] or list(self.clips)


def read_corpus(folder: Path) -> Corpus:
    """
    The English recordings with exact text that a folder's `manifest.jsonl` lists.

    Raises:
        BenchFailed: The folder has no manifest, or the manifest no such recording.
    """
    manifest = folder / "manifest.jsonl"
    if not manifest.is_file():
        raise BenchFailed(f"{manifest} is absent; name a folder that has one with AUDIO=…")
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines() if line]
    clips = [
        Clip(folder / row["file"], row["file"], float(row["duration_s"]), row["reference"])
        for row in rows
        if row["language"] == "en" and row["reference"] and row.get("ref_origin", EXACT) == EXACT
    ]
    if not clips:
        raise BenchFailed(f"{manifest} lists no English recording with exact text")
    return Corpus(tuple(clips))


def minutes(clips: list[Clip]) -> float:
    return sum(clip.duration_s for clip in clips) / 60
