"""Which files to transcribe, and where their transcripts go."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from serve_app.cli.wishes import OutputFormat
from serve_app.errors import RayscribeError

# What a directory is searched for; a file that is named is tried whatever its name.
AUDIO = (
    *(
        ".3gp",
        ".aac",
        ".ac3",
        ".aif",
        ".aifc",
        ".aiff",
        ".alac",
        ".amr",
        ".ape",
        ".au",
        ".caf",
        ".dts",
        ".flac",
        ".m4a",
    ),
    *(".m4b", ".mka", ".mp2", ".mp3", ".mpga", ".oga", ".ogg", ".opus", ".ra", ".spx", ".tta", ".wav", ".weba", ".wma"),
    ".wv",
)
VIDEO = (
    *(".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob"),
    *(".webm", ".wmv"),
)


class FileFailed(RayscribeError):
    """A file cannot be read or written."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file to transcribe."""

    path: Path
    below: Path  # its directory, from the directory that was searched


@dataclass(frozen=True, slots=True)
class Planned:
    """A file and what is to be made of it."""

    path: Path
    outputs: Mapping[OutputFormat, Path]  # empty when all goes to standard output

    def missing(self) -> tuple[OutputFormat, ...]:
        return tuple(wanted for wanted, output in self.outputs.items() if not output.exists())


def find(paths: Iterable[Path]) -> list[Found]:
    """The files named, and those in the directories named that look like audio or video; each once, in a stable order."""
    found = {file.path.resolve(): file for path in reversed([*paths]) for file in reversed([*_found(path)])}
    return list(reversed(found.values()))


def plan(found: Sequence[Found], formats: Sequence[OutputFormat], output_dir: Path | None) -> list[Planned]:
    """
    Where each transcript goes: beside its file, or below `output_dir` as the file lies below the directory searched.

    `talk.mp3` gives `talk.srt`; where `talk.wav` would give the same, both keep their own suffix: `talk.mp3.srt`.
    """
    stems = Counter(_folder(file, output_dir) / file.path.stem for file in found)

    def output(file: Found, wanted: OutputFormat) -> Path:
        folder = _folder(file, output_dir)
        alone = stems[folder / file.path.stem] == 1
        return folder / ((file.path.stem if alone else file.path.name) + wanted.suffix)

    return [Planned(file.path, {wanted: output(file, wanted) for wanted in formats}) for file in found]


def check_inputs_survive(planned: Sequence[Planned]) -> None:
    """
    Raises:
        FileFailed: An output would be written over an input.
    """
    inputs = {file.path.resolve() for file in planned}
    for file in planned:
        for output in file.outputs.values():
            if output.resolve() in inputs:
                raise FileFailed(f"{output} is itself to be transcribed, and would be overwritten: use --output-dir")


def write_whole(path: Path, text: str) -> None:
    """Write a file that is never seen half-written: all of it appears under its name at once, or nothing does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def size_bytes(path: Path) -> int:
    """
    Raises:
        FileFailed: The file cannot be seen.
    """
    try:
        return path.stat().st_size
    except OSError as error:
        raise FileFailed(str(error.strerror)) from error


def _found(path: Path) -> Iterator[Found]:
    if not path.is_dir():
        yield Found(path, Path())
        return
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if Path(name).suffix.lower() in (*AUDIO, *VIDEO) and not name.startswith("."):
                yield Found(Path(folder) / name, Path(folder).relative_to(path))


def _folder(file: Found, output_dir: Path | None) -> Path:
    return file.path.parent if output_dir is None else output_dir / file.below
