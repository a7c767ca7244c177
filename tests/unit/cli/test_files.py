"""Which files are found, where their transcripts go, and that a transcript is whole or not there."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from serve_app.cli.files import FileFailed, check_inputs_survive, find, plan, write_whole
from serve_app.cli.wishes import OutputFormat

TXT, SRT = OutputFormat.TXT, OutputFormat.SRT


def touch(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def test_directory_gives_audio_and_video_in_order_and_nothing_hidden(tmp_path: Path) -> None:
    touch(tmp_path, "b.mp3", "a.MKV", "notes.txt", ".hidden.mp3", ".git/c.mp3", "deep/er/d.opus")

    found = [file.path.relative_to(tmp_path) for file in find([tmp_path])]
    assert found == [Path("a.MKV"), Path("b.mp3"), Path("deep/er/d.opus")]


def test_file_given_twice_is_found_once_where_it_came_first(tmp_path: Path) -> None:
    first, second = touch(tmp_path, "a.mp3", "b.mp3")

    assert [file.path for file in find([second, tmp_path, first])] == [second, first]


def test_files_of_one_name_keep_their_own_suffixes(tmp_path: Path) -> None:
    touch(tmp_path, "talk.mp3", "talk.wav", "other.mp3")

    names = [file.outputs[SRT].name for file in plan(find([tmp_path]), [SRT], None)]
    assert names == ["other.srt", "talk.mp3.srt", "talk.wav.srt"]


def test_output_directory_keeps_the_shape_of_what_was_searched(tmp_path: Path) -> None:
    touch(tmp_path, "in/a/talk.mp3", "in/b/talk.mp3")
    planned = plan(find([tmp_path / "in"]), [TXT], tmp_path / "out")

    outputs = [file.outputs[TXT].relative_to(tmp_path) for file in planned]
    assert outputs == [Path("out/a/talk.txt"), Path("out/b/talk.txt")]


def test_only_what_is_missing_is_made(tmp_path: Path) -> None:
    touch(tmp_path, "talk.mp3", "talk.txt")
    (planned,) = plan(find([tmp_path]), [TXT, SRT], None)

    assert planned.missing() == (SRT,)


def test_input_that_an_output_would_replace_is_an_error(tmp_path: Path) -> None:
    (named,) = touch(tmp_path, "talk.srt")

    with pytest.raises(FileFailed, match="would be overwritten"):
        check_inputs_survive(plan(find([named]), [SRT], None))


def test_half_a_transcript_is_never_seen(tmp_path: Path) -> None:
    path = tmp_path / "talk.txt"
    path.write_text("before")

    with patch("os.fsync", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        write_whole(path, "after")

    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
