"""The client that takes the time, against a server of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.client import Client
from benchmarks.failure import BenchFailed, Refused
from tests.recordings import DATA

SAMPLE = DATA / "LJ001-0002.wav"
DELTA = {"type": "transcript.text.delta", "delta": "Red fox"}
DONE = {"type": "transcript.text.done", "text": "Red fox"}


class Handler(BaseHTTPRequestHandler):
    """Answers by the model that is asked for."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if b"broken" in body:
            self._answer(500, b'{"error": {"message": "no luck"}}')
        elif b"strange" in body:
            self._answer(400, b'{"error": {"message": "not audio"}}')
        elif b"verbose_json" in body:
            self._answer(200, b'{"text": "Red fox with its times"}')
        elif b"stream" in body:
            events = [DELTA] if b"halting" in body else [DELTA, DONE]
            self._answer(200, b"".join(f"data: {json.dumps(event)}\n\n".encode() for event in events))
        else:
            self._answer(200, b'{"text": "Red fox"}')

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def clients(url: str) -> Iterator[dict[str, Client]]:
    made = {model: Client(url, "key", model=model) for model in ("tiny.en", "broken", "strange", "halting")}
    yield made
    for client in made.values():
        client.close()


def test_a_transcript_comes_with_the_time_it_took(clients: dict[str, Client]) -> None:
    heard = clients["tiny.en"].transcribe(SAMPLE)

    assert heard.text == "Red fox"
    assert heard.took_s > 0


def test_a_transcript_is_asked_for_in_the_format_that_is_wanted(clients: dict[str, Client]) -> None:
    assert clients["tiny.en"].transcribe(SAMPLE, response_format="verbose_json").text == "Red fox with its times"


def test_the_first_delta_comes_before_the_end(clients: dict[str, Client]) -> None:
    streamed = clients["tiny.en"].stream(SAMPLE)

    assert streamed.heard.text == "Red fox"
    assert 0 < streamed.first_delta_s <= streamed.heard.took_s


def test_many_clients_send_all_files(clients: dict[str, Client]) -> None:
    assert clients["tiny.en"].transcribe_all([SAMPLE] * 5, clients=3) > 0


def test_an_error_of_the_service_is_told(clients: dict[str, Client]) -> None:
    for call in (clients["broken"].transcribe, clients["broken"].stream):
        with pytest.raises(BenchFailed, match=r"answered 500: .*no luck"):
            call(SAMPLE)


def test_a_refusal_is_told_from_a_failure(clients: dict[str, Client]) -> None:
    with pytest.raises(Refused, match="not audio"):
        clients["strange"].transcribe(SAMPLE)
    with pytest.raises(BenchFailed) as caught:
        clients["broken"].transcribe(SAMPLE)

    assert not isinstance(caught.value, Refused)


def test_one_error_among_many_ends_them_all(clients: dict[str, Client]) -> None:
    with pytest.raises(BenchFailed, match="answered 500"):
        clients["broken"].transcribe_all([SAMPLE] * 5, clients=3)


def test_a_stream_without_its_end_is_no_transcript(clients: dict[str, Client]) -> None:
    with pytest.raises(BenchFailed, match="ended without its last event"):
        clients["halting"].stream(SAMPLE)
