"""The examples of the documentation work as they stand, against a service that keeps no key."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve_app.testing import SENTENCES, silent_wav
from tests.service.cli.house import ServedHouse

pytestmark = pytest.mark.server

ROOT = Path(__file__).resolve().parents[3]
PAGES = ("README.md", "docs/jobs.md")
DEFAULT_URL = "http://127.0.0.1:8000"


def examples(language: str) -> list[Any]:
    found = []
    for page in PAGES:
        blocks = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
        found += [pytest.param(block, id=f"{page}-{n}") for n, block in enumerate(blocks, start=1)]
    return found


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    house = ServedHouse(tmp_path_factory.mktemp("house"))
    with house.serving() as address:
        yield address


def ran(command: list[str], folder: Path, url: str) -> str:
    (folder / "meeting.mp3").write_bytes(silent_wav(2.0))
    (folder / "recordings").mkdir()
    (folder / "recordings" / "talk.wav").write_bytes(silent_wav(1.0))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    ended = subprocess.run(
        command,
        env={**os.environ, "PATH": path, "RAYSCRIBE_URL": url, "NO_PROXY": "127.0.0.1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize("example", examples("sh"))
def test_commands_work(example: str, tmp_path: Path, url: str) -> None:
    script = "set -euo pipefail\n" + example.replace(DEFAULT_URL, url)

    out = ran(["bash", "-c", script], tmp_path, url)
    subtitles = [path.read_text() for path in tmp_path.rglob("*.*t") if path.suffix in (".srt", ".vtt")]
    assert out or subtitles
    assert all(SENTENCES[0].strip() in text for text in subtitles)


@pytest.mark.parametrize("example", examples("python"))
def test_python_works(example: str, tmp_path: Path, url: str) -> None:
    ran([sys.executable, "-W", "error", "-c", example.replace(DEFAULT_URL, url)], tmp_path, url)


def test_webhook_is_verified_as_documented() -> None:
    from datetime import UTC, datetime

    from standardwebhooks import Webhook

    page = (ROOT / "docs/jobs.md").read_text()
    (example,) = (b for b in re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S) if "standardwebhooks" in b)
    scope: dict[str, object] = {}
    exec(example, scope)
    secret, body, now = "whsec_" + "c2VjcmV0" * 4, b'{"id":"j"}', datetime.now(UTC)
    headers = {
        "webhook-id": "d1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("d1", now, body.decode()),
    }

    assert scope["verified"](secret, body, headers) == {"id": "j"}  # type: ignore[operator]
