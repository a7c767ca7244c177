"""`rayscribe serve`: start, show that it works, keep running, drain."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from types import FrameType
from typing import IO, cast

import httpx
from rich.console import Console

from serve_app.cli.config_file import ConfigFile, read_config
from serve_app.cli.service import check_port, deploy, drain, leave, local_ray, wait_until_running
from serve_app.cli.worker_logs import JsonLines
from serve_app.errors import RayscribeError
from serve_app.settings import ApiKey, Scope, check_listen, read_api_keys

SAMPLE = "jfk.flac"
OTHERS = 0o007  # what is written, audio and transcripts included, is not for other users of the machine

console = Console(highlight=False, soft_wrap=True)


class Interrupted(RayscribeError):
    """Told to stop before it was ready."""


class SampleFailed(RayscribeError):
    """The service runs, but did not transcribe the bundled recording."""


def run_service(config_path: Path, *, try_sample: bool, once: bool) -> None:
    """
    Serve until a signal, or until the sample is done if `once`.

    Raises:
        ConfigError, DeployFailed, SampleFailed: In one sentence each.
    """
    os.umask(os.umask(OTHERS) | OTHERS)
    config = read_config(config_path)
    if config.settings.log_format == "json":
        console.file = cast(IO[str], JsonLines(sys.stdout))
    http = config.settings.http
    keys = read_api_keys(config.settings.auth)
    check_listen(config.settings, has_keys=bool(keys))
    check_port(http.host, http.port)
    stop = threading.Event()
    _on_signals(stop)
    started = time.monotonic()
    with console.status("starting Ray") as status, local_ray(config):
        _on_signals(stop)  # again, because Ray has put its own in their place
        gateway = deploy(config)
        wait_until_running(
            config.name, lambda text: status.update(f"{text} ({time.monotonic() - started:.0f} s)"), stop
        )
        status.stop()
        if stop.is_set():
            raise Interrupted("stopped before the service was ready")
        console.print(f"ready after {time.monotonic() - started:.0f} s")
        if try_sample:
            _try_sample(_url(config), keys)
        _print_urls(config)
        if not once:
            stop.wait()
            console.print(
                "draining: requests in progress end, new ones are told to try again; once more to stop at once"
            )
            drain(gateway, timeout_s=config.settings.gateway.drain_s)
        leave(config.name)


def _on_signals(stop: threading.Event) -> None:
    """The first SIGINT or SIGTERM sets the event; the second ends the process as usual."""

    def first(signum: int, _: FrameType | None) -> None:
        signal.signal(signum, signal.default_int_handler)
        stop.set()

    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, first)


def _try_sample(url: str, keys: Sequence[ApiKey]) -> None:
    able = [key.secret for key in keys if key.may(Scope.TRANSCRIBE)]
    if keys and not able:
        console.print("the sample is left out: there is no API key of scope transcribe")
        return
    _transcribe_sample(url, able[0] if able else "none")


def _transcribe_sample(url: str, key: str) -> None:
    sample = files("serve_app.cli").joinpath(SAMPLE).read_bytes()
    began = time.perf_counter()
    try:
        answer = httpx.post(
            f"{url}/v1/audio/transcriptions",
            files={"file": (SAMPLE, sample)},
            data={"model": "whisper-1"},
            headers={"Authorization": f"Bearer {key}"},
            timeout=300,
            trust_env=False,  # a company's proxy does not know the way back to this machine
        )
    except httpx.HTTPError as error:
        raise SampleFailed(f"the sample was not answered: {error}") from error
    took_s = time.perf_counter() - began
    if answer.status_code != httpx.codes.OK:
        raise SampleFailed(f"the sample was answered {answer.status_code}: {_message(answer)}")
    body = answer.json()
    seconds = body["usage"]["seconds"]
    console.print(
        f"\n{SAMPLE}, {seconds} s of speech, transcribed in {took_s:.2f} s:\n\n  {body['text']}\n", markup=False
    )


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return answer.text[:200]


def _print_urls(config: ConfigFile) -> None:
    url = _url(config)
    console.print(f'API:   {url}/v1        e.g. OpenAI(base_url="{url}/v1", api_key=…)')
    if config.settings.http.enable_ui:
        console.print(f"Page:  {url}/\nDocs:  {url}/docs")


def _url(config: ConfigFile) -> str:
    http = config.settings.http
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(http.host, http.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{http.port}{config.route_prefix.rstrip('/')}"
