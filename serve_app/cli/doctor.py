"""`rayscribe doctor`: is there all that the service needs, and if not, what to do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import ctranslate2
import typer

from serve_app.cli.config_file import read_config
from serve_app.cli.doctor_findings import Check, Finding, Level, fine, guarded
from serve_app.cli.doctor_machine import (
    check_clock,
    check_data_dir,
    check_gpu,
    check_libraries,
    check_port,
    check_python,
    check_ray,
)
from serve_app.cli.doctor_models import check_decode, check_device, check_model, placed, room_for
from serve_app.cli.exits import FAILED
from serve_app.engine.devices import Placement
from serve_app.engine.gpu import open_gpu
from serve_app.errors import ConfigError
from serve_app.models.catalogue import Catalogue
from serve_app.settings import Settings, check_listen, read_api_keys, read_database_url, read_webhook_secret


def run_doctor(config: Path, *, deep: bool, as_json: bool) -> None:
    """
    Check this machine for the service of a config file.

    Raises:
        typer.Exit: With 1, when there is a problem.
    """
    if not report(findings(config, deep=deep), as_json=as_json):
        raise typer.Exit(FAILED)


def report(found: Iterable[Finding], *, as_json: bool) -> bool:
    """Print each finding as soon as it is made; gives whether none is a problem."""
    levels = Counter[Level]()
    for finding in found:
        levels[finding.level] += 1
        typer.echo(json.dumps(asdict(finding), ensure_ascii=False) if as_json else _as_text(finding))
    if not as_json:
        typer.echo(f"\n{levels[Level.PROBLEM]} problem(s), {levels[Level.WARNING]} warning(s)")
    return not levels[Level.PROBLEM]


def findings(config: Path, *, deep: bool) -> Iterator[Finding]:
    """What the checks find, one after the other; with wrong settings only those that need none."""
    yield from guarded("python", check_python)
    yield from guarded("ray", check_ray)
    try:
        settings = _settings(config)
    except ConfigError as error:
        yield Finding("settings", Level.PROBLEM, "the service would not start with them", error.message)
        return
    yield fine("settings", f"{config} and the environment")
    for name, check in _checks(settings, deep=deep):
        yield from guarded(name, check)


def _settings(config: Path) -> Settings:
    """As `rayscribe serve` reads them, secrets included."""
    settings = read_config(config).settings
    check_listen(settings, has_keys=bool(read_api_keys(settings.auth)))
    read_database_url(settings.jobs)
    read_webhook_secret(settings.webhooks)
    return settings


def _checks(settings: Settings, *, deep: bool) -> Iterator[tuple[str, Check]]:
    catalogue = Catalogue(settings)
    http, data_dir, device = settings.http, Path(settings.data_dir), settings.recognizer.device
    yield "port", partial(check_port, http.host, http.port)
    yield "data_dir", partial(check_data_dir, data_dir, settings.limits.max_upload_bytes)
    yield "clock", partial(check_clock, data_dir, datetime.now(UTC))
    yield "cuda libraries", partial(check_libraries, device, ctranslate2.get_cuda_device_count())
    gpu = open_gpu("cuda") if ctranslate2.get_cuda_device_count() else None
    room = room_for(catalogue, settings.default_model, gpu)
    placement = placed(settings.recognizer, room)
    yield "device", partial(check_device, placement)
    has_room = True
    if isinstance(placement, Placement) and placement.device == "cuda":
        need_bytes = room.need(placement.compute_type) if room else 0
        has_room = room is None or need_bytes <= room.free_bytes
        yield "gpu", partial(check_gpu, gpu, need_bytes + settings.lifecycle.vram_margin_bytes, settings.default_model)
    for model_id in catalogue:
        yield f"model {model_id}", partial(check_model, catalogue, model_id, deep=deep)
    if isinstance(placement, Placement) and has_room:  # else it would wait for the room, as the service does
        yield "self-test", partial(check_decode, settings)


def _as_text(finding: Finding) -> str:
    line = f"{finding.level:<8} {finding.check}: {finding.said}"
    return f"{line}\n{'':<8} → {finding.fix}" if finding.fix else line
