"""
A model as one file, for machines without a connection: a plain tar with the manifest first, then the files it names.

Checksums show damage, not malice: whoever can change a bundle can change its manifest too.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from serve_app.errors import InvalidRequest, PullFailed
from serve_app.models.catalogue import Catalogue
from serve_app.models.manifest import MANIFEST, FileSum, Manifest, abilities, check_name, model_files, sum_of
from serve_app.models.pull import FREE_BYTES, PullProgress, Tell
from serve_app.models.sources import is_on_hub
from serve_app.models.store import Pulled

_BLOCK_BYTES = 1024 * 1024
_MANIFEST_BYTES = 1024 * 1024  # a longer one is none


class BadBundle(InvalidRequest):
    """The file is no bundle, or it is damaged."""


def export_model(catalogue: Catalogue, name: str, bundle: Path, *, tell: Tell | None = None) -> Manifest:
    """
    Write a model that is on this machine to a bundle; under its name it is whole or not there. Blocks meanwhile.

    Raises:
        ModelNotFound: Nothing is called so.
        PullFailed: It was not pulled, its files are damaged, or the bundle cannot be written.
        ModelLoadFailed: Its wheel or directory is not there.
    """
    model_id = catalogue.find(name)
    directory = catalogue.files(model_id).directory
    manifest = _manifest(catalogue, model_id)
    count = _Count(manifest.size_bytes, tell)
    part = bundle.with_name(f".{bundle.name}.part")
    try:
        with tarfile.open(part, "w") as tar:
            text = manifest.model_dump_json(indent=1).encode()
            tar.addfile(_member(MANIFEST, len(text)), io.BytesIO(text))
            for file in manifest.files:
                _pack(tar, directory, file, count)
        part.replace(bundle)
    except OSError as error:
        raise PullFailed(f"{bundle} cannot be written: {error.strerror or error}.") from error
    finally:
        part.unlink(missing_ok=True)
    return manifest


def import_model(catalogue: Catalogue, bundle: Path, *, as_id: str | None = None, tell: Tell | None = None) -> Pulled:
    """
    Verify a bundle and have its model in the store, in place of one of the same name. Blocks meanwhile.

    Args:
        as_id: The model's id from now on; None: what the bundle says.

    Raises:
        BadBundle: It holds something else than the files that its manifest names, or not all of them.
        InvalidRequest: The settings have a model of this id that comes from elsewhere, or it is no id.
        PullFailed: The disk is full or cannot be written.
    """
    try:
        with _opened(bundle) as tar, catalogue.store.scratch() as scratch:
            manifest = _named(catalogue, _read_manifest(tar), as_id)
            _check_room(scratch, manifest)
            folder = scratch / "model"
            folder.mkdir()
            _unpack_all(tar, manifest, folder, _Count(manifest.size_bytes, tell))
            with catalogue.store.locked(manifest.id, manifest.pinned, waiting=lambda: None):
                return catalogue.store.publish(folder, manifest)
    except (tarfile.TarError, EOFError) as error:
        raise BadBundle(f"{bundle} is cut off, damaged or no bundle: copy it again.") from error
    except OSError as error:
        raise PullFailed(f"{bundle} cannot be imported: {error.strerror or error}.") from error


class _Count:
    """What was copied of all files together."""

    def __init__(self, total_bytes: int, tell: Tell | None) -> None:
        self._total_bytes = total_bytes
        self._done_bytes = 0
        self._tell = tell or (lambda _: None)

    def add(self, count_bytes: int) -> None:
        self._done_bytes += count_bytes
        self._tell(PullProgress(self._done_bytes, self._total_bytes))


class _Summed:
    """A file that is read once, and its checksum."""

    def __init__(self, file: IO[bytes], count: _Count) -> None:
        self._file = file
        self._count = count
        self._sha256 = hashlib.sha256()

    def read(self, size_bytes: int = -1) -> bytes:
        data = self._file.read(size_bytes)
        self._sha256.update(data)
        self._count.add(len(data))
        return data

    def check(self, file: FileSum) -> None:
        if self._sha256.hexdigest() != file.sha256:
            raise BadBundle(f"{file.name} is damaged: its checksum is not what the manifest says.")


def _manifest(catalogue: Catalogue, model_id: str) -> Manifest:
    """The one that it was pulled with, else a new one; a repository keeps its name, so that any catalogue finds it."""
    model, files = catalogue[model_id], catalogue.files(model_id)
    of_hub = is_on_hub(model.source)
    pulled = (
        catalogue.store.find(model.source, model.revision)
        if of_hub
        else catalogue.store.all().get(files.directory.name)
    )
    if pulled is not None and pulled.directory == files.directory:
        return pulled.manifest
    check_name(model_id)
    languages, tasks = abilities(files.directory / "tokenizer.json")
    return Manifest(
        id=model.source if of_hub else model_id,
        source=model.source if of_hub or not Path(model.source).is_absolute() else "directory",
        revision=files.revision,
        pinned=model.revision if of_hub else None,
        languages=model.languages or languages,
        tasks=model.tasks if model.languages else tasks,
        files=tuple(sum_of(path) for path in model_files(files.directory)),
    )


def _member(name: str, size_bytes: int) -> tarfile.TarInfo:
    """Without time and owner: the same model is the same bundle, byte for byte."""
    member = tarfile.TarInfo(name)
    member.size = size_bytes
    return member


def _pack(tar: tarfile.TarFile, directory: Path, file: FileSum, count: _Count) -> None:
    with (directory / file.name).open("rb") as opened:
        summed = _Summed(opened, count)
        tar.addfile(_member(file.name, file.size_bytes), summed)
    summed.check(file)


@contextlib.contextmanager
def _opened(bundle: Path) -> Iterator[tarfile.TarFile]:
    """Read from its begin to its end and never back: nothing is unpacked by names in it."""
    with bundle.open("rb") as file, tarfile.open(fileobj=file, mode="r|", bufsize=_BLOCK_BYTES) as tar:
        yield tar


def _read_manifest(tar: tarfile.TarFile) -> Manifest:
    member = tar.next()
    if member is None or member.name != MANIFEST or not _is_plain(member) or member.size > _MANIFEST_BYTES:
        raise BadBundle(f"It does not begin with {MANIFEST}: it was not made by `rayscribe models export`.")
    try:
        return Manifest.model_validate_json(_content(tar, member).read())
    except ValidationError as error:
        why = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise BadBundle(f"Its manifest is not one that this version understands: {why}.") from error


def _named(catalogue: Catalogue, manifest: Manifest, as_id: str | None) -> Manifest:
    if as_id is not None:
        check_name(as_id)
        manifest = manifest.model_copy(update={"id": as_id, "pinned": None})
    model = catalogue.settings.models.get(manifest.id)
    if model is not None and not (is_on_hub(model.source) and model.source == manifest.id):
        raise InvalidRequest(
            f"The settings have {manifest.id}, from {model.source}, and that would be used instead: give what is imported"
            " another name with --as.",
            param="model",
        )
    return manifest


def _check_room(folder: Path, manifest: Manifest) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < manifest.size_bytes + FREE_BYTES:
        raise PullFailed(
            f"{manifest.id} takes {manifest.size_bytes / 1e6:.0f} MB and the disk of data_dir has {free_bytes / 1e6:.0f} MB"
            " free: make room and import it again."
        )


def _unpack_all(tar: tarfile.TarFile, manifest: Manifest, folder: Path, count: _Count) -> None:
    expected = {file.name: file for file in manifest.files}
    while (member := tar.next()) is not None:
        file = expected.pop(member.name, None)
        if file is None or not _is_plain(member) or member.size != file.size_bytes:
            raise BadBundle(f"It holds {member.name[:100]!r}, which is not as its manifest says: nothing was imported.")
        _unpack(tar, member, folder / file.name, file, count)
    if expected:
        raise BadBundle(f"It lacks {', '.join(sorted(expected))}: copy it again.")


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, place: Path, file: FileSum, count: _Count) -> None:
    summed = _Summed(_content(tar, member), count)
    with place.open("xb") as out:
        shutil.copyfileobj(summed, out, _BLOCK_BYTES)
    summed.check(file)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(member)
    if content is None:
        raise BadBundle(f"{member.name[:100]!r} is no file.")
    return content


def _is_plain(member: tarfile.TarInfo) -> bool:
    return member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
