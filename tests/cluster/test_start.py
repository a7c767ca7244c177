"""Starting and stopping: one clear sentence and an exit code, never a hang."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from tests.cluster.running import KEY, RAYSCRIBE, ROOT, config_file, environment, free_port, poll, running
from tests.cluster.suspended import suspended
from tests.cluster.test_transcription import JFK


def start(*arguments: str, folder: Path, timeout_s: float = 150, **env: str) -> subprocess.CompletedProcess[str]:
    with environment(PORT=str(free_port())) as own:
        return subprocess.run(
            [RAYSCRIBE, "serve", *arguments],
            env=own | env,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd=folder,
            check=False,
        )


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_serve_itself_accepts_the_shipped_config(path: Path) -> None:
    assert ServeDeploySchema.model_validate(yaml.safe_load(path.read_text())).applications


def test_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ended = start(str(config_file(tmp_path)), folder=tmp_path, PORT=str(port))

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"rayscribe: cannot listen on 127.0.0.1:{port}: Address already in use")
    assert ended.stderr.count("\n") == 1


def test_misspelt_setting_is_one_sentence(tmp_path: Path) -> None:
    ended = start(str(config_file(tmp_path, limit={})), folder=tmp_path)

    assert ended.returncode == 1
    assert "limit is not a setting; the nearest is limits" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_other_address_without_a_key_is_refused(tmp_path: Path) -> None:
    ended = start(str(config_file(tmp_path)), folder=tmp_path, HOST="0.0.0.0", API_KEY="")

    assert ended.returncode == 1
    assert "there is no API key" in ended.stderr


def test_missing_model_stops_the_start_and_says_what_to_do(tmp_path: Path) -> None:
    models = {"mine": {"source": "/no/such/folder"}}
    ended = start(str(config_file(tmp_path, models=models, default_model="mine", preload=["mine"])), folder=tmp_path)

    assert ended.returncode == 1
    assert "/no/such/folder" in ended.stderr.splitlines()[-1]


def test_production_config_says_why_it_cannot_load_without_cuda(tmp_path: Path) -> None:
    tree = yaml.safe_load((ROOT / "configs" / "prod.yaml").read_text())
    assert tree["applications"][0]["args"]["recognizer"]["device"] == "cuda"

    ended = start(
        str(ROOT / "configs" / "prod.yaml"),
        folder=tmp_path,
        RAY_OVERRIDE_RESOURCES='{"CPU": 2, "GPU": 1}',
        DATA_DIR=str(tmp_path / "data"),
        HOST="127.0.0.1",
    )

    assert ended.returncode == 1
    assert "CUDA" in ended.stderr.splitlines()[-1]


def test_machine_without_the_gpu_is_told_so_at_once(tmp_path: Path) -> None:
    ended = start(str(config_file(tmp_path, recognizer={"num_gpus": 0.4})), folder=tmp_path)

    assert ended.returncode == 1
    assert "reserve 0.4 GPU" in ended.stderr.splitlines()[-1]


def test_sample_is_transcribed_and_the_service_stops_by_itself(tmp_path: Path) -> None:
    ended = start(str(config_file(tmp_path)), "--try-sample", "--once", folder=tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert "ask not what your country can do for you" in ended.stdout
    assert "/v1" in ended.stdout


@pytest.mark.slow
def test_request_in_progress_survives_sigterm(tmp_path: Path) -> None:
    with running(config_file(tmp_path)) as service:
        answers: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: answers.append(_transcribe(service.url)))
        with suspended(service.pids("Recognizer")):  # or a fast machine has answered before it is seen
            asking.start()
            poll(lambda: _busy(service.url), deadline_s=30)
            service.process.send_signal(signal.SIGTERM)
            poll(lambda: _draining(service.url), deadline_s=30)
        asking.join(timeout=60)
        code = service.process.wait(timeout=60)

    assert answers[0].status_code == 200
    assert code == 0


@pytest.mark.slow
def test_plain_serve_run_serves_the_same_config(tmp_path: Path) -> None:
    tree = yaml.safe_load((ROOT / "configs" / "local.yaml").read_text())
    port = free_port()
    tree["http_options"]["port"] = port
    config = tmp_path / "local.yaml"
    config.write_text(yaml.safe_dump(tree))
    serve = str(Path(sys.executable).with_name("serve"))
    with environment(RAY_NODE_IP_ADDRESS="127.0.0.1") as env:
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                [serve, "run", str(config)], env=env, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True
            )
        try:
            answer = poll(lambda: _transcribe_if_up(f"http://127.0.0.1:{port}"), deadline_s=180, every_s=1)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)

    assert "ask not" in answer.json()["text"]


def _transcribe(url: str) -> httpx.Response:
    return httpx.post(
        f"{url}/v1/audio/transcriptions",
        files={"file": JFK.read_bytes()},
        data={"model": "whisper-1"},
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=60,
    )


def _transcribe_if_up(url: str) -> httpx.Response | None:
    try:
        answer = _transcribe(url)
    except httpx.TransportError:
        return None
    return answer if answer.status_code == 200 else None


def _draining(url: str) -> bool | None:
    return True if httpx.get(f"{url}/health/ready", timeout=30).status_code == 503 else None


def _busy(url: str) -> bool | None:
    return True if httpx.get(f"{url}/health", timeout=30).json()["queue_depth"] > 0 else None
