"""Which recordings a bench is run on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.corpus import EXACT, LONG_FILE, Corpus, read_corpus
from benchmarks.failure import BenchFailed


def row(file: str, **other: Any) -> dict[str, Any]:
    known = {"duration_s": 10.0, "language": "en", "reference": "some words", "ref_origin": EXACT}
    return {"file": file, **known, **other}


def corpus(folder: Path, *rows: dict[str, Any]) -> Corpus:
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_corpus(folder)


def test_only_english_with_exact_text_counts(tmp_path: Path) -> None:
    found = corpus(
        tmp_path,
        row("read/a.flac"),
        row("read/b.flac", language="de"),
        row("read/c.flac", reference=None, ref_origin=None),
        row("read/d.flac", ref_origin="matched by ASR"),
    )

    assert [clip.name for clip in found.clips] == ["read/a.flac"]


def test_a_manifest_without_origins_is_taken_at_its_word(tmp_path: Path) -> None:
    bare = row("read/a.flac")
    del bare["ref_origin"]

    assert len(corpus(tmp_path, bare).clips) == 1


def test_one_sentence_in_forty_formats_is_no_set_of_recordings(tmp_path: Path) -> None:
    found = corpus(tmp_path, row("read/a.flac"), row("formats_derived/a.mp3"), row("containers/a.ogg"))

    assert [clip.name for clip in found.recordings()] == ["read/a.flac"]
    assert [clip.name for clip in found.formats()] == ["formats_derived/a.mp3", "containers/a.ogg"]


def test_clips_of_a_length_are_taken_from_the_recordings(tmp_path: Path) -> None:
    found = corpus(tmp_path, row("read/a.flac", duration_s=4.9), row("read/b.flac", duration_s=15.0))

    assert [clip.name for clip in found.between(5, 15)] == ["read/b.flac"]


def test_the_known_long_file_is_preferred_to_a_longer_one(tmp_path: Path) -> None:
    found = corpus(tmp_path, row(LONG_FILE, duration_s=800.0), row("longform/other.mp3", duration_s=900.0))

    assert found.long_file().name == LONG_FILE


def test_elsewhere_the_longest_stands_in_for_it(tmp_path: Path) -> None:
    found = corpus(
        tmp_path, row("a/short.mp3"), row("a/long.mp3", duration_s=90.0), row("a/longer.mp3", duration_s=99.0)
    )

    assert found.long_file().name == "a/longer.mp3"


def test_a_folder_without_a_long_recording_says_so(tmp_path: Path) -> None:
    found = corpus(tmp_path, row("read/a.flac"))

    with pytest.raises(BenchFailed, match="no English recording longer"):
        found.long_file()


@pytest.mark.parametrize(("rows", "message"), [(None, "is absent"), ([], "lists no English recording")])
def test_a_folder_that_cannot_be_used_says_why(tmp_path: Path, rows: list[Any] | None, message: str) -> None:
    if rows is not None:
        (tmp_path / "manifest.jsonl").write_text("")

    with pytest.raises(BenchFailed, match=message):
        read_corpus(tmp_path)
