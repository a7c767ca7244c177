"""The page at `/`, driven by a browser."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from selenium.webdriver.common.keys import Keys

from serve_app.errors import RecognizerUnavailable
from serve_app.testing import SENTENCES, FakeTranscriber
from serve_app.transcript.protocols import InlineMedia, MediaReference, Transcriber
from serve_app.transcript.types import TranscriptEvent, TranscriptionOptions
from tests.browser.conftest import Serve
from tests.browser.page import DEADLINE_S, Page
from tests.recordings import DATA

SPEECH = DATA / "LJ001-0001.wav"
TRICKY = (
    " Fish & chips, 1 < 2.",
    "  Two  spaces,\n<b>no</b> tags;",
    " an arrow --> here.",
    " <script>alert(1)</script>",
)


class Gate:
    """Holds a stand-in before one of its chunks until the test lets it go."""

    def __init__(self, chunk: int) -> None:
        self._chunk = chunk
        self._open = threading.Event()

    async def __call__(self, chunk: int) -> None:
        if chunk == self._chunk:
            await asyncio.to_thread(self._open.wait, DEADLINE_S)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate(chunk=1)
    yield gate
    gate.open()


def rendered(url: str, file_format: str) -> str:
    """What the service itself makes of the speech."""
    response = httpx.post(
        f"{url}/v1/audio/transcriptions",
        files={"file": SPEECH.read_bytes()},
        data={"model": "tiny.en", "response_format": file_format},
        timeout=DEADLINE_S,
    )
    return response.raise_for_status().text


def test_text_appears_while_the_rest_is_still_being_recognised(page: Page, serve: Serve, gate: Gate) -> None:
    page.open(serve(FakeTranscriber(before_chunk=gate)))
    page.transcribe(SPEECH)

    page.wait(lambda: page.transcript == SENTENCES[0].strip())
    assert page.status == "Transcribing…"
    assert not page.find("start").is_displayed()

    gate.open()
    page.wait_for_end()
    assert page.transcript == "".join(SENTENCES).strip()
    assert page.status.startswith("Done: 0:10 of audio")
    assert page.complaints() == []


def test_downloads_are_what_the_service_renders(page: Page, serve: Serve) -> None:
    url = serve(FakeTranscriber(TRICKY))
    page.open(url)
    page.transcribe(SPEECH)
    page.wait_for_end()

    assert page.download("txt").split() == "".join(TRICKY).split()
    assert page.download("srt") == rendered(url, "srt")
    assert page.download("vtt") == rendered(url, "vtt")
    assert {path.stem for path in page.downloads.iterdir()} == {SPEECH.stem}


def test_both_subtitle_formats_cost_one_more_transcription(page: Page, serve: Serve) -> None:
    transcriber = FakeTranscriber()
    page.open(serve(transcriber))
    page.transcribe(SPEECH)
    page.wait_for_end()
    page.download("vtt")
    page.download("srt")
    page.download("txt")

    assert len(transcriber.calls) == 2


def test_speech_is_never_taken_for_markup(page: Page, serve: Serve) -> None:
    page.open(serve(FakeTranscriber(TRICKY)))
    page.transcribe(SPEECH)
    page.wait_for_end()

    assert "<script>alert(1)</script>" in page.transcript


def test_cancelling_stops_the_work_and_keeps_what_came(page: Page, serve: Serve, gate: Gate) -> None:
    transcriber = FakeTranscriber(before_chunk=gate)
    page.open(serve(transcriber))
    page.transcribe(SPEECH)
    page.wait(lambda: page.transcript)
    page.press("cancel")

    page.wait(lambda: page.status == "Cancelled.")
    page.wait(lambda: transcriber.cancelled == 1)
    assert page.problem() == ""
    assert page.download("txt") == SENTENCES[0].strip() + "\n"


def test_a_file_that_is_no_audio_is_refused_in_the_words_of_the_service(
    page: Page, serve: Serve, tmp_path: Path
) -> None:
    letter = tmp_path / "letter.wav"
    letter.write_text("Dear Ada, this is no recording.")
    page.open(serve())
    page.transcribe(letter)

    assert page.wait(page.problem) == "The file is no audio that can be decoded."
    assert page.find("problem-detail").text.startswith("Request req_")
    assert page.find("problem").get_attribute("role") == "alert"
    assert not page.find("result").is_displayed()


def test_the_next_file_clears_the_problem(page: Page, serve: Serve, tmp_path: Path) -> None:
    letter = tmp_path / "letter.wav"
    letter.write_text("Dear Ada, this is no recording.")
    page.open(serve())
    page.transcribe(letter)
    page.wait(page.problem)
    page.transcribe(SPEECH)
    page.wait_for_end()

    assert page.problem() == ""
    assert page.transcript == "".join(SENTENCES).strip()


def test_a_failure_in_the_middle_is_shown_beside_what_came_before_it(page: Page, serve: Serve) -> None:
    async def die(chunk: int) -> None:
        if chunk == 2:
            raise RecognizerUnavailable("The recogniser died; try again.", retry_after_s=10)

    page.open(serve(FakeTranscriber(before_chunk=die)))
    page.transcribe(SPEECH)

    assert page.wait(page.problem) == "The recogniser died; try again."
    assert page.transcript == "".join(SENTENCES[:2]).strip()


def test_silence_is_told_from_a_failure(page: Page, serve: Serve) -> None:
    page.open(serve(FakeTranscriber(())))
    page.transcribe(SPEECH)
    page.wait_for_end()

    assert page.status == "Done. Nothing was said."
    assert page.problem() == ""


def test_a_service_that_went_away_is_a_problem_and_not_a_hang(page: Page, serve: Serve) -> None:
    page.open(serve())
    page.browser.execute_cdp_cmd("Network.enable", {})
    page.browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/v1/audio/*"]})
    try:
        page.transcribe(SPEECH)

        assert "can't be reached" in page.wait(page.problem)
    finally:
        page.browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})


def test_a_key_is_asked_for_used_and_kept_for_the_tab_only(page: Page, serve: Serve) -> None:
    url = serve(keys=frozenset({"sk-right"}))
    page.open(url)
    asks = "This service asks for an API key: enter yours above."
    assert page.problem() == asks
    page.wait(lambda: page.browser.switch_to.active_element == page.find("key"))
    page.find("key").send_keys("sk-wrong", Keys.TAB)
    page.wait(lambda: page.problem() == "Incorrect API key provided.")
    page.find("key").clear()
    page.wait(lambda: page.problem() == asks)  # so that no late refusal follows the right key

    page.find("key").send_keys("sk-right", Keys.TAB)
    page.wait(lambda: "tiny.en" in page.models())
    page.transcribe(SPEECH)
    page.wait_for_end()

    assert page.problem() == ""
    assert page.transcript == "".join(SENTENCES).strip()
    assert page.browser.execute_script("return [localStorage.length, document.cookie]") == [0, ""]
    page.browser.refresh()
    page.wait(lambda: "tiny.en" in page.models())


def test_models_decide_which_languages_and_tasks_can_be_chosen(page: Page, serve: Serve) -> None:
    page.open(serve())

    assert page.models() == ["tiny.en", "acme/multilingual"]
    assert page.choices("language") == ["Detect", "English"]
    assert page.choices("task") == ["Transcribe"]
    page.choose("model", "acme/multilingual")
    assert {"Detect", "English", "German", "Welsh"} < set(page.choices("language"))
    assert page.choices("task") == ["Transcribe", "Translate to English"]


def test_the_chosen_model_and_language_are_sent(page: Page, serve: Serve) -> None:
    transcriber = FakeTranscriber()
    page.open(serve(transcriber))
    page.choose("model", "acme/multilingual")
    page.choose("language", "Welsh")
    page.transcribe(SPEECH)
    page.wait_for_end()

    ((_, options),) = transcriber.calls
    assert (options.decoding.model_id, options.decoding.language) == ("acme/multilingual", "cy")


def test_a_translation_and_its_subtitles_are_one_request(page: Page, serve: Serve) -> None:
    transcriber = FakeTranscriber()
    page.open(serve(transcriber))
    page.choose("model", "acme/multilingual")
    page.choose("task", "Translate to English")
    page.transcribe(SPEECH)
    page.wait_for_end()

    assert page.transcript == "".join(SENTENCES).strip()
    assert page.download("srt").startswith("1\n00:00:00,000 --> ")
    assert [options.decoding.task for _, options in transcriber.calls] == ["translate"]


class HearsAnything(Transcriber):
    """Keeps the media as they came, and hears the bundled speech in all of them."""

    def __init__(self) -> None:
        self.media: list[bytes] = []

    def run(self, media: MediaReference, options: TranscriptionOptions) -> AsyncGenerator[TranscriptEvent, None]:
        assert isinstance(media, InlineMedia)
        self.media.append(media.data)
        return FakeTranscriber().run(InlineMedia(SPEECH.read_bytes()), options)


def test_a_recording_from_the_microphone_is_transcribed(page: Page, serve: Serve) -> None:
    transcriber = HearsAnything()
    page.open(serve(transcriber))
    page.press("record")
    # Each second is shown for a second, and who looks may be late.
    page.wait(lambda: page.find("record-label").text >= "Stop 0:01")
    page.press("record")
    page.wait(page.find("chosen").is_displayed)
    page.press("start")
    page.wait_for_end()

    (recording,) = transcriber.media
    assert page.find("chosen-name").text == "recording.webm"
    assert recording.startswith(b"\x1a\x45\xdf\xa3")  # EBML, of which WebM is made


def test_everything_can_be_reached_by_keyboard(page: Page, serve: Serve) -> None:
    page.open(serve())
    page.find("file").send_keys(str(SPEECH))
    reached = set()
    for _ in range(25):  # the player alone has several stops
        page.press_tab()
        reached.add(page.browser.switch_to.active_element.get_attribute("id"))

    assert {"file", "record", "model", "task", "language", "start"} <= reached


def test_focus_follows_the_work(page: Page, serve: Serve, gate: Gate) -> None:
    page.open(serve(FakeTranscriber(before_chunk=gate)))
    page.transcribe(SPEECH)

    page.wait(lambda: page.browser.switch_to.active_element == page.find("cancel"))
    gate.open()
    page.wait_for_end()
    page.wait(lambda: page.browser.switch_to.active_element == page.find("start"))


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_ask_nobody_but_the_service(page: Page, serve: Serve, path: str) -> None:
    url = serve()
    page.browser.get(url + path)
    page.wait(lambda: page.browser.execute_script("return document.readyState") == "complete")

    hosts = {urlsplit(asked).netloc for _, asked in page.requests() if urlsplit(asked).scheme in ("http", "https")}
    assert hosts == {urlsplit(url).netloc}


def test_the_documentation_lists_the_routes(page: Page, serve: Serve) -> None:
    page.browser.get(serve() + "/docs")

    page.wait(lambda: "/v1/audio/transcriptions" in page.browser.find_element("id", "swagger-ui").text)


def test_without_the_interface_neither_page_nor_documentation_is_there(serve: Serve) -> None:
    url = serve(enable_ui=False)

    for path in ("/", "/docs", "/static/app.js"):
        assert httpx.get(url + path).status_code == 404
    assert httpx.get(f"{url}/openapi.json").status_code == 200
