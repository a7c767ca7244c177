"""Prometheus' own tool."""

from __future__ import annotations

import shutil
import subprocess


def promtool(*arguments: str, given: bytes | None = None) -> str:
    """What it says; a complaint of it fails the test."""
    tool = shutil.which("promtool")
    assert tool, "promtool is missing: apt-get install prometheus"
    ended = subprocess.run([tool, *arguments], input=given, capture_output=True, check=False)
    said = (ended.stdout + ended.stderr).decode()
    assert ended.returncode == 0, said
    return said
