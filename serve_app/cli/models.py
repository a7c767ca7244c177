"""`rayscribe models`: weights on this machine, for people and for programs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from serve_app.cli.config_file import read_config
from serve_app.cli.progress import ONLY, upload_bar
from serve_app.errors import ModelLoadFailed, PullFailed
from serve_app.models.bundles import export_model, import_model
from serve_app.models.catalogue import Catalogue
from serve_app.models.manifest import Manifest
from serve_app.models.pull import PullProgress, Tell
from serve_app.models.sources import is_on_hub
from serve_app.models.store import size_on_disk
from serve_app.models.weights import pull_model, remove_model
from serve_app.settings import Settings, load_settings, read_hub_token

SERVED = Path("configs/local.yaml")  # what `rayscribe serve` takes
WIDE = 200


def run_list(config: Path | None, *, as_json: bool) -> None:
    """
    Print the models that can be named.

    Raises:
        ConfigError: The settings are wrong.
    """
    catalogue = Catalogue(_settings(config))
    rows = [_row(catalogue, model_id) for model_id in catalogue]
    if as_json:
        for row in rows:
            _print_json(row)
    else:
        console = Console(highlight=False)
        console.width = console.width if console.is_terminal else WIDE  # what goes to a file is not cut
        console.print(_table(rows))


def run_pull(config: Path | None, name: str | None, *, as_json: bool) -> None:
    """
    Pull a model.

    Args:
        name: None: each model that the service needs at its start, if it comes from the hub.

    Raises:
        ConfigError, InvalidRequest, PullFailed: As `pull_model`.
    """
    settings = _settings(config)
    catalogue, token = Catalogue(settings), read_hub_token(settings.hub)
    names = [name] if name else _needed(settings)
    if not (names or as_json):
        typer.echo("nothing to pull: no model that the service needs at its start comes from the hub")
    for wanted in names:
        with _bar(wanted) as tell:
            manifest = pull_model(catalogue, wanted, token=token, tell=tell).manifest
        _done(manifest, f"{wanted} is on this machine ({_megabytes(manifest.size_bytes)})", as_json=as_json)


def _needed(settings: Settings) -> list[str]:
    named = dict.fromkeys((*settings.preload, settings.default_model))
    return [model_id for model_id in named if is_on_hub(settings.models[model_id].source)]


def run_export(config: Path | None, name: str, bundle: Path, *, as_json: bool) -> None:
    """
    Write a bundle.

    Raises:
        ConfigError, ModelNotFound, PullFailed, ModelLoadFailed: As `export_model`.
    """
    with _bar(name) as tell:
        manifest = export_model(Catalogue(_settings(config)), name, bundle, tell=tell)
    _done(manifest, f"{bundle} has {manifest.id}, revision {manifest.revision}", as_json=as_json)


def run_import(config: Path | None, bundle: Path, as_id: str | None, *, as_json: bool) -> None:
    """
    Keep the model of a bundle.

    Raises:
        ConfigError, BadBundle, InvalidRequest, PullFailed: As `import_model`.
    """
    with _bar(bundle.name) as tell:
        pulled = import_model(Catalogue(_settings(config)), bundle, as_id=as_id, tell=tell)
    _done(pulled.manifest, f"{pulled.manifest.id} is on this machine", as_json=as_json)


def run_remove(config: Path | None, name: str, *, as_json: bool) -> None:
    """
    Delete a model.

    Raises:
        ConfigError, ModelNotFound, InvalidRequest, ModelInUse: As `remove_model`.
    """
    model_id = remove_model(Catalogue(_settings(config)), name)
    if as_json:
        _print_json({"id": model_id, "deleted": True})
    else:
        typer.echo(f"{model_id} was deleted")


def _settings(config: Path | None) -> Settings:
    """Those of `rayscribe serve`; without its config file, the defaults and the environment."""
    if config is None and not SERVED.exists():
        return load_settings({})
    return read_config(config or SERVED).settings


def _row(catalogue: Catalogue, model_id: str) -> dict[str, Any]:
    model = catalogue[model_id]
    row = {
        "id": model_id,
        "source": _source(catalogue, model_id),
        "languages": list(model.languages),
        "tasks": list(model.tasks),
    }
    try:
        files = catalogue.files(model_id)
    except PullFailed:
        fetched = is_on_hub(model.source) and not catalogue.settings.offline
        return {**row, "weights": "fetched at the first load" if fetched else "missing"}
    except ModelLoadFailed as error:
        return {**row, "weights": "missing", "error": error.message}
    return {**row, "weights": "here", "revision": files.revision, "bytes": size_on_disk(files.directory)}


def _source(catalogue: Catalogue, model_id: str) -> str:
    """Of what was pulled, where it was pulled from, and not the directory where it lies."""
    pulled = None if model_id in catalogue.settings.models else catalogue.store.find(model_id)
    return pulled.manifest.source if pulled else catalogue[model_id].source


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("model", "weights", "size", "languages", "source", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for row in rows:
        size = _megabytes(row["bytes"]) if "bytes" in row else ""
        table.add_row(row["id"], row["weights"], size, ", ".join(row["languages"]) or "all", row["source"])
    return table


@contextlib.contextmanager
def _bar(name: str) -> Iterator[Tell]:
    with upload_bar(Console(stderr=True), name, 1) as bar:

        def tell(progress: PullProgress) -> None:
            bar.update(ONLY, completed=progress.done_bytes, total=progress.total_bytes)

        yield tell


def _done(manifest: Manifest, sentence: str, *, as_json: bool) -> None:
    if as_json:
        _print_json(manifest.model_dump(mode="json"))
    else:
        typer.echo(sentence)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"


def _print_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False))
