"""The `rayscribe` command. Each command's module is imported when it is called, so that `--help` is quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from serve_app import __version__
from serve_app.cli import commands, models_commands
from serve_app.cli.exits import exit_code
from serve_app.errors import RayscribeError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Self-hosted speech-to-text on Ray Serve.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _all(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Self-hosted speech-to-text on Ray Serve."""


@app.command()
def serve(
    config: Annotated[Path, typer.Argument(help="A Serve config file.")] = Path("configs/local.yaml"),
    try_sample: Annotated[
        bool, typer.Option("--try-sample", help="Transcribe a bundled recording when the service is ready.")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="Stop when that is done.")] = False,
) -> None:
    """Start the service and keep it running until Ctrl-C or SIGTERM, then drain it."""
    from serve_app.cli.ray_environment import guard_ray

    guard_ray()  # before Ray is imported
    from serve_app.cli.serve import run_service

    run_service(config, try_sample=try_sample or once, once=once)


@app.command()
def doctor(
    config: Annotated[Path, typer.Argument(help="The Serve config file of the service.")] = Path("configs/local.yaml"),
    deep: Annotated[bool, typer.Option("--deep", help="Read all weights and compare their checksums.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
) -> None:
    """Check that this machine has all that the service needs, and say how to mend what is missing."""
    from serve_app.cli.doctor import run_doctor

    run_doctor(config, deep=deep, as_json=json)


@app.command()
def settings(markdown: Annotated[bool, typer.Option("--markdown", help="As a table for the docs.")] = False) -> None:
    """Print every setting with its environment variable, default and meaning."""
    from serve_app.cli.settings_table import as_markdown, as_text

    typer.echo(as_markdown() if markdown else as_text())


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


app.command()(commands.transcribe)
app.command()(commands.submit)
app.add_typer(commands.jobs, name="jobs")
app.add_typer(models_commands.models, name="models")


def main() -> None:
    """Run the command; an error of ours is one sentence on standard error, and its exit code."""
    try:
        app()
    except RayscribeError as error:
        typer.echo(f"rayscribe: {error.message}", err=True)
        sys.exit(exit_code(error))
