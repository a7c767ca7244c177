"""The Node SDK tests once more, against real Ray and the real model."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.cluster.running import KEY, ROOT, Service


@pytest.mark.slow
def test_node_sdks_get_from_the_real_service_what_they_get_from_the_stand_in(service: Service) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/sdk"],
        env={**os.environ, "SERVICE_URL": service.url, "SERVICE_KEY": KEY},
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=280,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout[-4000:]
