"""The checks of models: their files, where they would run, and that one recognises speech."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from serve_app.cli.doctor_findings import Finding, Level, fine
from serve_app.engine.devices import Placement, Room, choose_placement
from serve_app.engine.vram import VramNeeds
from serve_app.errors import GpuLost, ModelError, ModelLoadFailed, PullFailed, RayscribeError
from serve_app.models.catalogue import Catalogue
from serve_app.models.manifest import MANIFEST, FileSum, Manifest, sum_of
from serve_app.models.protocols import Gpu
from serve_app.models.sources import ModelFiles, is_on_hub
from serve_app.settings import RecognizerSettings, Settings

SAMPLE = "jfk.flac"
SAID = "country"  # whatever model hears it
_MB = 10**6

Transcribe = Callable[[Settings], Coroutine[Any, Any, str]]


def placed(settings: RecognizerSettings, room: Room | None = None) -> Placement | ModelLoadFailed:
    """Where a model would run, or why it could not."""
    try:
        return choose_placement(settings.device, settings.compute_type, settings.threads, room=room)
    except ModelLoadFailed as error:
        return error


def room_for(catalogue: Catalogue, model_id: str, gpu: Gpu | None) -> Room | None:
    """What the GPU has for a model; None if that, or what the model needs, is not known."""
    found = located(catalogue, model_id)
    if gpu is None or not isinstance(found, ModelFiles):
        return None
    try:
        free_bytes = gpu.memory().free_bytes
    except GpuLost:
        return None
    return Room(
        free_bytes - catalogue.settings.lifecycle.vram_margin_bytes,
        partial(VramNeeds().need_bytes, model_id, found.directory),
    )


def check_device(placement: Placement | ModelLoadFailed) -> Iterator[Finding]:
    if isinstance(placement, ModelLoadFailed):
        yield Finding("device", Level.PROBLEM, "models cannot run as the settings say", placement.message)
    else:
        threads = f", {placement.threads} threads" if placement.device == "cpu" else ""
        yield fine("device", f"{placement.device}, {placement.compute_type}{threads}: {placement.why}")


def located(catalogue: Catalogue, model_id: str) -> ModelFiles | ModelError:
    """A model's files, or why they are not on this machine; nothing is pulled."""
    try:
        return catalogue.files(model_id)
    except (ModelLoadFailed, PullFailed) as error:
        return error


def check_model(catalogue: Catalogue, model_id: str, *, deep: bool) -> Iterator[Finding]:
    """
    Args:
        deep: Read every byte and compare checksums.
    """
    name, found = f"model {model_id}", located(catalogue, model_id)
    if isinstance(found, ModelError):
        yield _absent(catalogue, model_id, found)
        return
    manifest = found.directory / MANIFEST
    sums = Manifest.model_validate_json(manifest.read_text(encoding="utf-8")).files if manifest.is_file() else ()
    wrong = [file.name for file in sums if not _is_whole(found.directory / file.name, file, deep=deep)]
    if wrong:
        fix = f"Pull it again: `rayscribe models rm {model_id}`, then `rayscribe models pull {model_id}`."
        yield Finding(name, Level.PROBLEM, f"{', '.join(wrong)} in {found.directory} is damaged", fix)
        return
    verified = ", checksums right" if deep and sums else ""
    yield fine(name, f"{_size_bytes(found.directory) / _MB:.0f} MB, revision {found.revision}{verified}")


async def transcribed(settings: Settings) -> str:
    """What the default model hears in the bundled recording; the whole path in this process."""
    from serve_app.cli.local import LocalBackend
    from serve_app.cli.wishes import OutputFormat, Wishes

    with as_file(files("serve_app.cli").joinpath(SAMPLE)) as sample:
        async with aclosing(LocalBackend(settings, Wishes(model=settings.default_model))) as backend:
            heard = await backend.transcribe(sample, [OutputFormat.TXT], lambda _: None)
    return heard.texts[OutputFormat.TXT].strip()


def check_decode(
    settings: Settings, transcribe: Transcribe = transcribed, *, timeout_s: float = 120.0
) -> Iterator[Finding]:
    """
    Recognise a recording with the default model, if its weights are here.

    Args:
        timeout_s: A model that finds no room on the GPU would wait for it without end.
    """
    if not Catalogue(settings).is_here(settings.default_model):
        said = f"not tried, because {settings.default_model} is not here"
        yield Finding("self-test", Level.WARNING, said, f"See model {settings.default_model}, above.")
        return
    began_s = time.perf_counter()
    try:
        text = asyncio.run(_within(timeout_s, transcribe(settings)))
    except TimeoutError:
        fix = "See in `nvidia-smi` who holds the GPU's memory; on a CPU, see what else runs on it."
        yield Finding("self-test", Level.PROBLEM, f"{settings.default_model} was not done in {timeout_s:.0f} s", fix)
        return
    except RayscribeError as error:
        yield Finding("self-test", Level.PROBLEM, f"{settings.default_model} transcribes nothing", error.message)
        return
    took_s = time.perf_counter() - began_s
    if SAID not in text.lower():
        said = f"{settings.default_model} heard {text!r} in {SAMPLE}, which is something else"
        fix = "Pull its weights again, and try recognizer.device: cpu: then it is the GPU or its driver."
        yield Finding("self-test", Level.PROBLEM, said, fix)
        return
    yield fine("self-test", f"{settings.default_model} loaded and transcribed {SAMPLE} (11 s) in {took_s:.1f} s")


async def _within(timeout_s: float, text: Coroutine[Any, Any, str]) -> str:
    async with asyncio.timeout(timeout_s):
        return await text


def _absent(catalogue: Catalogue, model_id: str, error: ModelError) -> Finding:
    name, settings = f"model {model_id}", catalogue.settings
    if not is_on_hub(catalogue[model_id].source):
        return Finding(name, Level.PROBLEM, "it is not here", error.message)
    fix = f"Run `rayscribe models pull {model_id}`"
    if not settings.offline:
        return Finding(name, Level.WARNING, "not pulled yet: its first request waits for that", f"{fix}.")
    is_needed = model_id == settings.default_model or model_id in settings.preload
    fix = f"{fix} on a machine with a connection, then `rayscribe models export` there and `rayscribe models import` here."
    return Finding(name, Level.PROBLEM if is_needed else Level.WARNING, "not here, and offline is set", fix)


def _is_whole(path: Path, wanted: FileSum, *, deep: bool) -> bool:
    if not path.is_file() or path.stat().st_size != wanted.size_bytes:
        return False
    return not deep or sum_of(path) == wanted


def _size_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir() if path.is_file())
