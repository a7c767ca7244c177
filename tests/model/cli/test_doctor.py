"""`rayscribe doctor` on this machine, with the real tiny.en."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.cluster.running import RAYSCRIBE, free_port

pytestmark = pytest.mark.model

LOCAL = Path(__file__).resolve().parents[3] / "configs" / "local.yaml"


def test_a_good_machine_has_no_problem_and_hears_the_recording(tmp_path: Path) -> None:
    env = {**os.environ, "DATA_DIR": str(tmp_path / "data"), "PORT": str(free_port())}

    run = subprocess.run(
        [RAYSCRIBE, "doctor", LOCAL, "--deep", "--json"], env=env, capture_output=True, text=True, timeout=120
    )
    found = {line["check"]: line for line in map(json.loads, run.stdout.splitlines())}

    assert run.returncode == 0, run.stdout + run.stderr
    assert {"python", "ray", "settings", "port", "data_dir", "clock", "cuda libraries", "device"} <= found.keys()
    assert found["model tiny.en"]["level"] == "ok"
    assert found["self-test"]["said"].startswith("tiny.en loaded and transcribed jfk.flac (11 s) in ")
    assert not (tmp_path / "data").exists()
