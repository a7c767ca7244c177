"""With `offline: true` nothing is ever asked of another machine: in a network where there is none, and each attempt would be seen."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.airgap.nowhere import ROOT, attempts, cut_off, watched, why_not

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

ASK = 'import socket; socket.socket(type=socket.SOCK_{kind}).connect(("192.0.2.1", 53))'


@pytest.mark.parametrize("kind", ["STREAM", "DGRAM"])
def test_attempt_to_reach_another_machine_is_seen_also_in_a_process_that_was_started(tmp_path: Path, kind: str) -> None:
    log = tmp_path / "strace"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ASK.format(kind=kind)!r}])"
    cut_off(*watched(log), sys.executable, "-c", code)

    assert "192.0.2.1" in "".join(attempts(log))


def test_service_that_is_offline_hears_and_keeps_jobs_and_asks_nobody_else(tmp_path: Path) -> None:
    ended = cut_off(sys.executable, "-m", "tests.airgap.scenario", str(tmp_path))

    assert ended.returncode == 0, ended.stderr[-4000:]
    said = json.loads((tmp_path / "said.json").read_text())
    assert "ask not what your country can do for you" in said["heard"]["text"]
    assert said["absent"]["error"]["code"] == "model_not_found"
    assert "offline" in said["pull"]
    assert said["pages"] == [200, 200, 200]
    assert said["job"] == "done"
    logs = sorted(tmp_path.glob("*.strace"))
    assert len(logs) == 3
    assert [attempt for log in logs for attempt in attempts(log)] == []


@pytest.mark.timeout(600)
@pytest.mark.skipif("WHEELS" not in os.environ, reason="two minutes: `make offline-test` collects the wheels first")
def test_make_run_needs_no_index_once_the_wheels_are_there(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    wheels = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": os.environ["WHEELS"], "PIP_CONFIG_FILE": os.devnull}
    ended = cut_off("make", "run", "ONCE=1", cwd=checkout, timeout_s=550, PORT="8000", **wheels)

    assert ended.returncode == 0, ended.stderr[-4000:]
    assert "ask not what your country can do for you" in ended.stdout
