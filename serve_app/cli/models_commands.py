"""
`rayscribe models`: the arguments of its commands. They work on `data_dir` of this machine, without a service.

Nothing heavy is imported before a command runs, so that `--help` is quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from serve_app.cli import arguments as arg

models = typer.Typer(no_args_is_help=True, help="List, pull, carry and remove models on this machine.")

Config = Annotated[
    Path | None,
    typer.Option("--config", help="The service's config file: configs/local.yaml if it is there.", show_default=False),
]
Name = Annotated[str, typer.Argument(metavar="MODEL", help="A model id, an alias or a repository.", show_default=False)]


@models.command("list")
def list_models(config: Config = None, json: arg.Json = False) -> None:
    """List the models that can be named, and which of them are on this machine."""
    from serve_app.cli.models import run_list

    run_list(config, as_json=json)


@models.command("pull")
def pull_model(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="A model id, an alias or a repository; none: what the service preloads, and its default model.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    json: arg.Json = False,
) -> None:
    """Download a model, or bring it up to date. One that was cut goes on where it was."""
    from serve_app.cli.models import run_pull

    run_pull(config, model, as_json=json)


@models.command("export")
def export_model(
    model: Name,
    bundle: Annotated[Path, typer.Argument(help="The tar file to write.", show_default=False)],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also if there is one.")] = False,
    config: Config = None,
    json: arg.Json = False,
) -> None:
    """Write a model to one file, with checksums, for a machine without a connection."""
    if bundle.exists() and not overwrite:
        raise typer.BadParameter(f"{bundle} is there already; --overwrite replaces it", param_hint="BUNDLE")
    from serve_app.cli.models import run_export

    run_export(config, model, bundle, as_json=json)


@models.command("import")
def import_model(
    bundle: Annotated[Path, typer.Argument(help="As `rayscribe models export` wrote it.", show_default=False)],
    name: Annotated[str, typer.Option("--as", help="The model's id from now on.", show_default=False)] = "",
    config: Config = None,
    json: arg.Json = False,
) -> None:
    """Verify such a file and keep its model."""
    from serve_app.cli.models import run_import

    run_import(config, bundle, name or None, as_json=json)


@models.command("rm")
def remove_model(model: Name, config: Config = None, json: arg.Json = False) -> None:
    """Delete a model that was pulled or imported. A service that has it loaded keeps it until it unloads it."""
    from serve_app.cli.models import run_remove

    run_remove(config, model, as_json=json)
