"""`rayscribe transcribe`: many files, several at a time, each by itself."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from serve_app.cli.backends import Backend, ServiceBackend, Transcribed
from serve_app.cli.exits import FAILED, NoService
from serve_app.cli.files import FileFailed, Planned, check_inputs_survive, find, plan, size_bytes, write_whole
from serve_app.cli.progress import FilesProgress
from serve_app.cli.remote import Remote, ServiceClient
from serve_app.cli.wishes import OutputFormat, Wishes
from serve_app.errors import RayscribeError


@dataclass(frozen=True, slots=True)
class Order:
    """What is to become of the transcripts."""

    formats: tuple[OutputFormat, ...] = (OutputFormat.TXT,)
    output_dir: Path | None = None
    to_stdout: bool = False
    overwrite: bool = False
    as_json: bool = False
    at_once: int = 2  # files


class Outcome(StrEnum):
    DONE = "done"
    SKIPPED = "skipped"  # every output was there already
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of one file."""

    path: Path
    outcome: Outcome
    outputs: tuple[Path, ...] = ()
    transcribed: Transcribed | None = None
    took_s: float = 0.0
    error: RayscribeError | None = None

    @property
    def speed(self) -> float | None:
        """Seconds of audio in a second; None when the length is not known."""
        duration_s = self.transcribed and self.transcribed.duration_s
        return duration_s / self.took_s if duration_s and self.took_s else None


def service_backend(remote: Remote, wishes: Wishes) -> Backend:
    return ServiceBackend(ServiceClient(remote), wishes)


def local_backend(config: Path | None, wishes: Wishes) -> Backend:
    from serve_app.cli.config_file import read_config
    from serve_app.cli.local import LocalBackend
    from serve_app.settings import load_settings

    return LocalBackend(read_config(config).settings if config else load_settings({}), wishes)


def run_transcribe(paths: Sequence[Path], order: Order, make_backend: Callable[[], Backend]) -> None:
    """
    Transcribe files and say what became of each.

    Raises:
        NoService: There is nothing to transcribe with.
        RayscribeError: No file was found, or an output would be written over an input.
        typer.Exit: With 1, when one of the files failed.
    """
    found = find(paths)
    if not found:
        raise RayscribeError(f"no audio or video in {', '.join(map(str, paths))}")
    planned = plan(found, order.formats, order.output_dir)
    if not order.to_stdout:
        check_inputs_survive(planned)
    if not asyncio.run(_Run(order, planned).all(make_backend)):
        raise typer.Exit(FAILED)


@dataclass
class _Run:
    order: Order
    files: Sequence[Planned]
    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False, soft_wrap=True))

    def __post_init__(self) -> None:
        self._progress = FilesProgress(self.console, sum(_size(file.path) for file in self.files))
        self._places = asyncio.Semaphore(self.order.at_once)

    async def all(self, make_backend: Callable[[], Backend]) -> bool:
        """Whether no file failed. They are shown in order, as soon as that is possible."""
        good = True
        try:
            with self._progress.shown():
                async with aclosing(make_backend()) as backend, asyncio.TaskGroup() as group:
                    for task in [group.create_task(self._one(backend, file)) for file in self.files]:
                        report = await task
                        self._show(report)
                        good = good and report.outcome is not Outcome.FAILED
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors  # the others were cancelled for it
        return good

    async def _one(self, backend: Backend, file: Planned) -> FileReport:
        wanted = self.order.formats
        if not (self.order.overwrite or self.order.to_stdout):
            wanted = file.missing()
        if not wanted:
            return FileReport(file.path, Outcome.SKIPPED, tuple(file.outputs.values()))
        async with self._places:
            began_s = time.monotonic()
            try:
                with self._progress.file(file.path.name, _size(file.path)) as report:
                    transcribed = await backend.transcribe(file.path, wanted, report)
                outputs = () if self.order.to_stdout else tuple(_written(file, transcribed))
            except NoService:
                raise
            except (RayscribeError, OSError) as error:
                return FileReport(file.path, Outcome.FAILED, error=_ours(error, file.path))
            self._progress.add_audio(transcribed.duration_s)
            return FileReport(file.path, Outcome.DONE, outputs, transcribed, time.monotonic() - began_s)

    def _show(self, report: FileReport) -> None:
        if self.order.as_json:
            typer.echo(json.dumps(_as_json(report), ensure_ascii=False))
        elif self.order.to_stdout and report.transcribed:
            typer.echo("".join(report.transcribed.texts.values()), nl=False)
        if report.error:
            self.console.print(f"rayscribe: {report.path}: {report.error.message}", markup=False)
        elif not (self.order.as_json or self.order.to_stdout):
            self.console.print(_sentence(report), markup=False)


def _written(file: Planned, transcribed: Transcribed) -> list[Path]:
    for wanted, text in transcribed.texts.items():
        write_whole(file.outputs[wanted], text)
    return [file.outputs[wanted] for wanted in transcribed.texts]


def _sentence(report: FileReport) -> str:
    outputs = ", ".join(map(str, report.outputs))
    if report.outcome is Outcome.SKIPPED:
        return f"{report.path}: {outputs} is there already; --overwrite makes it again"
    assert report.transcribed
    speed = f", {report.speed:.1f}× real time" if report.speed else ""
    return f"{report.path} → {outputs}  ({_length(report.transcribed.duration_s)} in {report.took_s:.1f} s{speed})"


def _length(duration_s: float | None) -> str:
    return "audio" if duration_s is None else f"{duration_s:.1f} s of audio"


def _as_json(report: FileReport) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "file": str(report.path),
        "outcome": report.outcome,
        "outputs": [str(path) for path in report.outputs],
    }
    if report.transcribed:
        shown["duration_s"] = report.transcribed.duration_s
        shown["took_s"] = round(report.took_s, 3)
        shown["speed"] = report.speed and round(report.speed, 2)
        if not report.outputs:
            shown["texts"] = {wanted.value: text for wanted, text in report.transcribed.texts.items()}
    if report.error:
        code = "file_error" if isinstance(report.error, FileFailed) else report.error.code
        shown["error"] = {"code": code, "message": report.error.message}
    return shown


def _ours(error: RayscribeError | OSError, path: Path) -> RayscribeError:
    """An error of the file at `path`, which is named beside it."""
    if isinstance(error, RayscribeError):
        return error
    where = f" ({error.filename})" if error.filename not in (None, str(path)) else ""
    return FileFailed(f"{error.strerror}{where}")


def _size(path: Path) -> int:
    try:
        return size_bytes(path)
    except FileFailed:
        return 0  # it will be said when its turn comes
