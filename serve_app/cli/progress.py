"""How far the files are: a bar for each on a terminal, with the speed and the time left."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from serve_app.cli.backends import Report


class FilesProgress:
    """
    Bars on standard error; nothing where that is no terminal.

    The time left is from the bytes of the files that are done, because the lengths of the others are not known.
    """

    def __init__(self, console: Console, total_bytes: int) -> None:
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[speed]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._all = self._bars.add_task("all", total=max(1, total_bytes), speed="")
        self._audio_s = 0.0

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        with self._bars:
            yield

    @contextlib.contextmanager
    def file(self, name: str, size_bytes: int) -> Iterator[Report]:
        """A bar while the block runs; gives what to tell the fraction done."""
        bar = self._bars.add_task(name, total=None, speed="")
        told_bytes = 0.0

        def report(fraction: float) -> None:
            nonlocal told_bytes
            self._bars.update(bar, total=1.0, completed=fraction)
            self._bars.advance(self._all, fraction * size_bytes - told_bytes)
            told_bytes = fraction * size_bytes

        try:
            yield report
        finally:
            self._bars.advance(self._all, size_bytes - told_bytes)
            self._bars.remove_task(bar)

    def add_audio(self, duration_s: float | None) -> None:
        """So much more has been transcribed."""
        self._audio_s += duration_s or 0.0
        elapsed_s = self._bars.tasks[0].elapsed or 0.0
        if self._audio_s and elapsed_s:
            self._bars.update(self._all, speed=f"{self._audio_s / elapsed_s:.1f}× real time")


@contextlib.contextmanager
def upload_bar(console: Console, name: str, total_bytes: int) -> Iterator[Progress]:
    """A bar for one file on its way to the service; `update` its only task."""
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    bar.add_task(name, total=total_bytes)
    with bar:
        yield bar


ONLY = TaskID(0)
