"""`rayscribe transcribe` over a real server: files in, files out, and what it says when something is wrong."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from serve_app.testing import SENTENCES, FakeTranscriber, silent_wav
from serve_app.transcript.types import Task
from tests.service.cli.conftest import KEY, Talk
from tests.service.cli.running import rayscribe

TEXT = "".join(SENTENCES).strip() + "\n"


def test_transcript_lies_beside_the_file(talk: Talk) -> None:
    ended = talk.rayscribe("transcribe", talk.file)

    assert ended.code == 0
    assert (talk.folder / "talk.txt").read_text() == TEXT
    assert f"{talk.file} → {talk.folder / 'talk.txt'}  (2.0 s of audio in" in ended.err
    assert "× real time" in ended.err
    assert ended.out == ""


@pytest.mark.parametrize(
    ("wanted", "begins"),
    [("srt", "1\n00:00:00,000 --> "), ("vtt", "WEBVTT\n\n"), ("json", '{"task":"transcribe"')],
)
def test_each_format_is_the_services_own(talk: Talk, wanted: str, begins: str) -> None:
    ended = talk.rayscribe("transcribe", talk.file, "--format", wanted)

    assert ended.code == 0
    assert (talk.folder / f"talk.{wanted}").read_text().startswith(begins)


def test_words_have_their_times_when_asked_for(talk: Talk) -> None:
    talk.rayscribe("transcribe", talk.file, "--format", "json", "--word-times")

    transcript = json.loads((talk.folder / "talk.json").read_text())
    assert transcript["words"][0]["word"] == "A"
    assert transcript["segments"]


def test_wishes_reach_the_transcriber(talk: Talk, transcriber: FakeTranscriber) -> None:
    talk.rayscribe(
        *("transcribe", talk.file, "--language", "English", "--prompt", "Minutes.", "--beam-size", 2, "--no-vad")
    )

    _, options = transcriber.calls[-1]
    assert options.decoding.task is Task.TRANSCRIBE
    assert (options.decoding.language, options.decoding.prompt, options.decoding.beam_size) == ("en", "Minutes.", 2)
    assert not options.speech.vad_filter


def test_directory_is_searched_and_its_shape_kept(talk: Talk) -> None:
    deeper = talk.folder / "in" / "may"
    deeper.mkdir(parents=True)
    (deeper / "memo.WAV").write_bytes(silent_wav(1.0))
    (deeper / "notes.doc").write_text("no audio")
    ended = talk.rayscribe("transcribe", talk.folder / "in", "--output-dir", talk.folder / "out")

    assert ended.code == 0
    assert [p.relative_to(talk.folder / "out") for p in (talk.folder / "out").rglob("*.*")] == [Path("may/memo.txt")]


def test_file_that_is_named_is_tried_whatever_its_name(talk: Talk) -> None:
    odd = talk.file.rename(talk.folder / "recording.bin")

    assert talk.rayscribe("transcribe", odd, "--stdout").out == TEXT


def test_what_is_there_is_skipped_until_told_otherwise(talk: Talk, transcriber: FakeTranscriber) -> None:
    (talk.folder / "talk.txt").write_text("by hand")
    before = len(transcriber.calls)
    skipped = talk.rayscribe("transcribe", talk.file)

    assert skipped.code == 0
    assert "is there already" in skipped.err
    assert len(transcriber.calls) == before
    assert (talk.folder / "talk.txt").read_text() == "by hand"

    talk.rayscribe("transcribe", talk.file, "--overwrite")

    assert (talk.folder / "talk.txt").read_text() == TEXT


def test_input_is_never_overwritten(talk: Talk) -> None:
    named = talk.file.rename(talk.folder / "talk.txt")
    ended = talk.rayscribe("transcribe", named, "--overwrite")

    assert ended.code == 1
    assert "is itself to be transcribed" in ended.err
    assert named.read_bytes() == silent_wav(2.0)


def test_one_bad_file_does_not_stop_the_others(talk: Talk) -> None:
    (talk.folder / "broken.wav").write_bytes(b"no audio")
    (talk.folder / "z.wav").write_bytes(silent_wav(1.0))
    ended = talk.rayscribe("transcribe", talk.folder, talk.folder / "missing.wav")

    assert ended.code == 1
    assert f"rayscribe: {talk.folder / 'broken.wav'}: The file is no audio" in ended.err
    assert f"rayscribe: {talk.folder / 'missing.wav'}: No such file or directory\n" in ended.err
    assert sorted(p.name for p in talk.folder.glob("*.txt")) == ["talk.txt", "z.txt"]


def test_json_is_one_object_a_file(talk: Talk) -> None:
    (talk.folder / "broken.wav").write_bytes(b"no audio")
    ended = talk.rayscribe("transcribe", talk.folder, talk.folder / "missing.wav", "--json")

    broken, good, missing = ended.objects
    assert broken["outcome"] == "failed"
    assert broken["error"]["code"] == "invalid_audio"
    assert (good["outcome"], good["outputs"], good["duration_s"]) == ("done", [str(talk.folder / "talk.txt")], 2)
    assert good["speed"] > 0
    assert missing["error"]["code"] == "file_error"


@pytest.mark.parametrize("wanted", ["txt", "srt", "vtt", "json"])
def test_length_is_that_of_the_audio_to_the_millisecond_and_not_where_the_last_cue_ends(
    talk: Talk, transcriber: FakeTranscriber, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    monkeypatch.setattr(transcriber, "sentences", (*SENTENCES, ""))  # silence at the end
    talk.file.write_bytes(silent_wav(2.25))
    (told,) = talk.rayscribe("transcribe", talk.file, "--format", wanted, "--json").objects

    assert told["duration_s"] == 2.25


def test_json_to_standard_output_holds_the_texts(talk: Talk) -> None:
    (told,) = talk.rayscribe("transcribe", talk.file, "--json", "--stdout").objects

    assert told["texts"] == {"txt": TEXT}


def test_no_service_is_exit_code_3_with_a_way_out(talk: Talk) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        ended = rayscribe("transcribe", talk.file, talk.file, "--url", f"http://127.0.0.1:{taken.getsockname()[1]}")

    assert ended.code == 3
    assert ended.err.startswith("rayscribe: nothing answers at http://127.0.0.1:")
    assert "`rayscribe serve`" in ended.err
    assert "--local" in ended.err
    assert list(talk.folder.iterdir()) == [talk.file]


def test_missing_key_is_a_sentence_that_names_the_option(talk: Talk) -> None:
    ended = rayscribe("transcribe", talk.file, "--url", talk.url)

    assert ended.code == 1
    assert "--api-key" in ended.err
    assert KEY not in ended.err


def test_service_and_key_come_from_the_environment(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSCRIBE_URL", talk.url)
    monkeypatch.setenv("RAYSCRIBE_API_KEY", KEY)

    assert rayscribe("transcribe", talk.file, "--stdout").out == TEXT


@pytest.mark.parametrize(
    "arguments",
    [
        ("--stdout", "-f", "srt", "-f", "txt"),
        ("--config", "x.yaml"),
        ("--word-times", "--task", "translate"),
        ("--format", "docx"),
    ],
)
def test_wrong_usage_is_exit_code_2(talk: Talk, arguments: tuple[str, ...]) -> None:
    assert talk.rayscribe("transcribe", talk.file, *arguments).code == 2


def test_empty_directory_is_said(tmp_path: Path, talk: Talk) -> None:
    (tmp_path / "empty").mkdir()
    ended = talk.rayscribe("transcribe", tmp_path / "empty")

    assert ended.code == 1
    assert "no audio or video in" in ended.err
