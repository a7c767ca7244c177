"""A real service that asks for no key, because it is for this machine only."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.cluster.running import Service, config_file, running

pytestmark = pytest.mark.slow

FORM = b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(config_file(tmp_path_factory.mktemp("alone"), limits={"upload_idle_s": 2}), API_KEY="") as started:
        yield started


def test_browsers_bring_nothing_from_elsewhere(alone: Service) -> None:
    here = httpx.get(f"{alone.url}/v1/models", timeout=30)
    rebound = httpx.get(f"{alone.url}/v1/models", headers={"Host": "evil.example.com"}, timeout=30)
    posted = httpx.post(f"{alone.url}/model/unload", headers={"Origin": "https://evil.example.com"}, timeout=30)

    assert [answer.status_code for answer in (here, rebound, posted)] == [200, 403, 403]


def test_body_that_trickles_gives_its_place_back(alone: Service) -> None:
    """A byte each half second never stops for two, and used to be waited for without end."""
    host, port = alone.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=0.5) as stranger:
        stranger.sendall(FORM + b"Content-Length: 90000000\r\n\r\n" + FILE)
        answer = b""
        for _ in range(120):
            stranger.sendall(b"x")
            try:
                answer = stranger.recv(1000)
                break
            except TimeoutError:
                continue

    assert answer.startswith(b"HTTP/1.1 408 ")
