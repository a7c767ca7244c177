"""Bars where somebody watches, and nothing where nobody does."""

from __future__ import annotations

import io

from rich.console import Console

from serve_app.cli.progress import FilesProgress


def shown(*, terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    progress = FilesProgress(console, 1000)
    with progress.shown():
        with progress.file("[bold]talk.mp3", 500) as report:
            report(0.5)
        progress.add_audio(60.0)
        progress.add_audio(None)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_terminal_shows_each_file_by_its_own_name_and_the_speed_of_all() -> None:
    told = shown(terminal=True)

    assert "[bold]talk.mp3" in told
    assert "50%" in told  # of the bytes of all files
    assert "× real time" in told


def test_what_is_no_terminal_gets_no_bars() -> None:
    assert shown(terminal=False) == ""
