"""
What somebody without a connection does, run inside the network that has none: carry a model in, start the service, use it.

Writes what came of it to said.json. Usage: python -m tests.airgap.scenario FOLDER
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from tests.airgap.nowhere import watched
from tests.cluster.job_client import JobClient
from tests.cluster.running import KEY, RAYSCRIBE, Service, config_file, running
from tests.recordings import DATA

JFK = DATA / "jfk.flac"
CARRIED = "acme/carried"


def main(folder: Path) -> None:
    config = config_file(folder, offline=True)
    carry(config, folder)
    with running(config, command=(*watched(folder / "service.strace"), RAYSCRIBE, "serve")) as service:
        (folder / "said.json").write_text(json.dumps(use(service)))


def carry(config: Path, folder: Path) -> None:
    """A model as it comes from another machine."""
    bundle = str(folder / "bundle.tar")
    for n, arguments in enumerate((["export", "tiny.en", bundle], ["import", bundle, "--as", CARRIED])):
        command = [*watched(folder / f"models-{n}.strace"), RAYSCRIBE, "models", *arguments, "--config", str(config)]
        subprocess.run(command, check=True, capture_output=True)


def use(service: Service) -> dict[str, Any]:
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=120) as http:
        heard = _transcribe(http, CARRIED)
        absent = _transcribe(http, "Systran/faster-whisper-large-v3")
        pull = http.post("/v1/models/Systran/faster-whisper-small")
        pages = [http.get(path).status_code for path in ("/", "/docs", "/openapi.json")]
    with JobClient.of(service) as jobs:
        job = jobs.ended(jobs.submit(JFK))
    return {
        "heard": heard.json(),
        "absent": absent.json(),
        "pull": pull.text,
        "pages": pages,
        "job": job["status"],
    }


def _transcribe(http: httpx.Client, model: str) -> httpx.Response:
    return http.post("/v1/audio/transcriptions", files={"file": JFK.read_bytes()}, data={"model": model})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
