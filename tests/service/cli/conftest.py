"""A service on a loopback port, and the command pointed at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_app.testing import FakeTranscriber, silent_wav
from tests.service.cli.house import ServedHouse
from tests.service.cli.running import Ended, rayscribe

KEY = "cli-key"


class Talk:
    """A recording, and the command pointed at a service."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.file = folder / "talk.wav"
        self.file.write_bytes(silent_wav(2.0))

    def rayscribe(self, *arguments: object) -> Ended:
        return rayscribe(*arguments, "--url", self.url, "--api-key", KEY)


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> ServedHouse:
    return ServedHouse(tmp_path_factory.mktemp("house"), key=KEY)


@pytest.fixture(scope="session")
def url(house: ServedHouse) -> Iterator[str]:
    with house.serving() as address:
        yield address


@pytest.fixture
def transcriber(house: ServedHouse) -> FakeTranscriber:
    return house.transcriber


@pytest.fixture
def talk(url: str, tmp_path: Path) -> Talk:
    return Talk(url, tmp_path)
