"""Small models on disk, and a catalogue that names them."""

from __future__ import annotations

from pathlib import Path

from serve_app.models.catalogue import Catalogue
from serve_app.models.manifest import Manifest, sum_of
from serve_app.models.store import Pulled, WeightStore
from serve_app.settings import Settings

FILES = {"model.bin": b"weights", "tokenizer.json": b"{}", "config.json": b"{}"}
REPOSITORY = "Systran/faster-whisper-test"


def write_model(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    return folder


def publish(store: WeightStore, model_id: str = REPOSITORY, *, pinned: str | None = None) -> Pulled:
    with store.scratch() as scratch:
        folder = write_model(scratch / "model")
        sums = tuple(sum_of(folder / name) for name in FILES)
        manifest = Manifest(
            id=model_id, source=model_id, revision="c" * 40, pinned=pinned, languages=("en",), files=sums
        )
        return store.publish(folder, manifest)


def catalogue(folder: Path, **args: object) -> Catalogue:
    """
    Args:
        folder: With `data`, the `data_dir`.
    """
    return Catalogue(Settings.model_validate({"data_dir": str(folder / "data"), **args}))


def with_models(**sources: str) -> dict[str, object]:
    """Arguments of a catalogue: model id → source."""
    return {
        "models": {name: {"source": source} for name, source in sources.items()},
        "default_model": next(iter(sources)),
    }
