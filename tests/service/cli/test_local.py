"""The engine in this process answers as the service does, whatever is wished."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from serve_app.cli.backends import Backend, Transcribed
from serve_app.cli.local import LocalBackend
from serve_app.cli.remote import Remote
from serve_app.cli.transcribe import service_backend
from serve_app.cli.wishes import Channels, OutputFormat, Task, Wishes
from serve_app.errors import InvalidRequest, ModelNotFound, RayscribeError
from serve_app.settings import Settings
from serve_app.testing import FakeTranscriber
from tests.service.cli.conftest import KEY, Talk

EVERY = [wanted for wanted in OutputFormat if wanted is not OutputFormat.DIARIZED]


def local(wishes: Wishes, folder: Path, transcriber: FakeTranscriber | None = None) -> LocalBackend:
    return LocalBackend(Settings(data_dir=str(folder / "data")), wishes, transcriber or FakeTranscriber())


async def transcribed(backend: Backend, file: Path, formats: Sequence[OutputFormat]) -> Transcribed:
    async with aclosing(backend):
        return await backend.transcribe(file, formats, lambda _: None)


@pytest.mark.parametrize("formats", [EVERY, *([wanted] for wanted in EVERY)], ids=str)
@pytest.mark.parametrize(
    "wishes",
    [
        Wishes(),
        Wishes(word_times=True, language="English"),
        Wishes(max_line_width=12, max_line_count=1, temperature=0.2, vad_filter=False, multilingual=True),
    ],
    ids=["defaults", "words", "others"],
)
async def test_texts_are_those_of_the_service(talk: Talk, wishes: Wishes, formats: list[OutputFormat]) -> None:
    remote = await transcribed(service_backend(Remote(talk.url, KEY), wishes), talk.file, formats)
    here = await transcribed(local(wishes, talk.folder), talk.file, formats)

    assert here.texts == remote.texts
    assert here.duration_s == 2.0


@pytest.mark.parametrize(
    ("wishes", "wanted", "error"),
    [
        (Wishes(model="none"), "txt", ModelNotFound),
        (Wishes(language="klingon"), "txt", InvalidRequest),
        (Wishes(task=Task.TRANSLATE), "txt", InvalidRequest),  # tiny.en cannot
        (Wishes(channels=Channels.SEPARATE), "diarized", InvalidRequest),  # there is but one
    ],
)
async def test_what_cannot_be_done_is_refused_as_by_the_service(
    talk: Talk, wishes: Wishes, wanted: str, error: type[RayscribeError]
) -> None:
    with pytest.raises(error):
        await transcribed(local(wishes, talk.folder), talk.file, [OutputFormat(wanted)])


@pytest.mark.parametrize(("wanted", "needs"), [("diarized", True), ("json", False)])
async def test_only_speakers_have_a_file_of_one_channel_refused_before_work(
    talk: Talk, wanted: str, needs: bool
) -> None:
    transcriber = FakeTranscriber(channels=2)
    backend = local(Wishes(channels=Channels.SEPARATE), talk.folder, transcriber)
    await transcribed(backend, talk.file, [OutputFormat.TXT, OutputFormat(wanted)])

    assert [options.needs_channels for _, options in transcriber.calls] == [needs]


async def test_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await transcribed(local(Wishes(), tmp_path), tmp_path / "none.wav", [OutputFormat.TXT])


async def test_fraction_that_is_done_is_told(talk: Talk) -> None:
    told: list[float] = []
    async with aclosing(local(Wishes(), talk.folder)) as backend:
        await backend.transcribe(talk.file, [OutputFormat.TXT], told.append)

    assert told == pytest.approx([1 / 3, 2 / 3, 1])
