"""`python -m benchmarks.bare CONFIG`: a deployment that does nothing, started and scaled as the service's Recognizer is."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import typer
from ray import serve
from ray.serve.config import HTTPOptions

from serve_app.app import recognizer_scaling
from serve_app.cli.config_file import ConfigFile, read_config
from serve_app.cli.service import local_ray

ANSWER = "here"


class Bare:
    async def __call__(self, _: Any) -> str:
        return ANSWER


def main(config_path: Path) -> None:
    """Serve until a signal."""
    config = read_config(config_path)
    with local_ray(config):
        serve.start(http_options=HTTPOptions(**config.http_options))
        serve.run(deployment(config).bind(), name=config.name, route_prefix="/")
        typer.echo("ready after its start")  # what `tests.cluster.running` waits for
        threading.Event().wait()


def deployment(config: ConfigFile) -> serve.Deployment:
    """Under the Recognizer's name, so that its processes are found by the same."""
    cpus = config.settings.recognizer.num_cpus
    scaling = recognizer_scaling(config.settings)
    return serve.deployment(name="Recognizer", ray_actor_options={"num_cpus": cpus}, **scaling)(Bare)


if __name__ == "__main__":
    typer.run(main)
