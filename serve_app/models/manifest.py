"""What is known of weights that were pulled or imported: where they come from, and the checksum of each file."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from serve_app.errors import InvalidRequest

MANIFEST = "rayscribe-model.json"
FILES = re.compile(r"config\.json|preprocessor_config\.json|model\.bin|tokenizer\.json|vocabulary\.(json|txt)")
"""What a model consists of; no other file of a repository, a directory or a bundle is ever touched."""
NEEDED_FILES = ("model.bin", "tokenizer.json")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_LONGEST_NAME = 96
# Where the vocabulary of an English-only model ends; that of a multilingual one has one word more.
_ENGLISH_START = {"content": "<|startoftranscript|>", "id": 50257}

Languages = tuple[str, ...]
Tasks = tuple[Literal["transcribe", "translate"], ...]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileSum(_Frozen):
    """One file, and what its bytes must come to."""

    name: str
    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @field_validator("name")
    @classmethod
    def _of_a_model(cls, name: str) -> str:
        if not FILES.fullmatch(name):
            raise ValueError(f"{name!r} is no file of a model")
        return name


class Manifest(_Frozen):
    """
    The file that makes a directory a model: it is written last.

    Attributes:
        id: What the model is called where no catalogue gives it another name.
        source: The repository, or what else it came from.
        revision: A commit, or the version of a wheel.
        pinned: The revision that was asked for; None if none was.
        languages: Empty means all of Whisper's.
    """

    format: Literal[1] = 1
    id: str
    source: str
    revision: str
    pinned: str | None = None
    languages: Languages = ()
    tasks: Tasks = ("transcribe", "translate")
    files: tuple[FileSum, ...]

    @field_validator("id", "pinned")
    @classmethod
    def _plain(cls, name: str | None) -> str | None:
        if name is not None and not is_name(name):
            raise ValueError(f"{name!r} is no model id or revision")
        return name

    @model_validator(mode="after")
    def _whole(self) -> Self:
        names = [file.name for file in self.files]
        if len(set(names)) != len(names):
            raise ValueError("a file is named twice")
        if missing := [name for name in NEEDED_FILES if name not in names]:
            raise ValueError(f"there is no {' and no '.join(missing)}")
        return self

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def is_name(name: str) -> bool:
    """Whether it can be a model id or a revision: plain words with slashes between them, so that it is safe as a path."""
    return bool(_NAME.fullmatch(name)) and len(name) <= _LONGEST_NAME and "--" not in name


def check_name(name: str, param: str = "model") -> None:
    """
    Raises:
        InvalidRequest: It cannot be a model id or a revision.
    """
    if not is_name(name):
        raise InvalidRequest(
            f"{name[:_LONGEST_NAME]!r} cannot be a {param}: use letters, digits, '.', '_' and '-', at most {_LONGEST_NAME},"
            " as in Systran/faster-whisper-small",
            param=param,
        )


def sum_of(path: Path) -> FileSum:
    """Size and checksum of a file; reads all of it."""
    return FileSum(name=path.name, size_bytes=path.stat().st_size, sha256=sha256_of(path))


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damaged(directory: Path, manifest: Manifest) -> list[str]:
    """The files that are not what the manifest says; reads all of them."""
    return [file.name for file in manifest.files if not _is(directory / file.name, file)]


def _is(path: Path, file: FileSum) -> bool:
    return path.is_file() and path.stat().st_size == file.size_bytes and sha256_of(path) == file.sha256


def model_files(directory: Path) -> list[Path]:
    """The files of a directory that belong to the model, the needed ones certainly among them if it is one."""
    return sorted(path for path in directory.iterdir() if FILES.fullmatch(path.name) and path.is_file())


def abilities(tokenizer: Path) -> tuple[Languages, Tasks]:
    """Languages and tasks, as far as the vocabulary of a model tells them."""
    words = json.loads(tokenizer.read_text(encoding="utf-8")).get("added_tokens", ())
    if any(_ENGLISH_START.items() <= word.items() for word in words):
        return ("en",), ("transcribe",)
    return (), ("transcribe", "translate")
