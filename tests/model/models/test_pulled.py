"""Weights that came from a hub, and through a bundle, compute."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from serve_app.engine.devices import Placement
from serve_app.engine.loading import load_model
from serve_app.models.bundles import export_model, import_model
from serve_app.models.catalogue import Catalogue
from serve_app.models.manifest import model_files
from serve_app.models.sources import find_model
from serve_app.models.weights import pull_model
from serve_app.settings import TINY_EN, Settings
from tests.service.models.hub import COMMIT, FakeHub, serving_hub

pytestmark = pytest.mark.model

REPOSITORY = "Systran/faster-whisper-tiny.en"


def test_model_from_a_hub_and_its_copy_from_a_bundle_load_and_decode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = find_model(TINY_EN, models_dir=tmp_path, offline=True).directory
    with serving_hub(FakeHub({REPOSITORY: {path.name: path.read_bytes() for path in model_files(real)}})) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        there = Catalogue(Settings(data_dir=str(tmp_path / "there")))
        pull_model(there, REPOSITORY)
    here = Catalogue(Settings(data_dir=str(tmp_path / "here"), offline=True))
    export_model(there, REPOSITORY, tmp_path / "bundle.tar")
    import_model(here, tmp_path / "bundle.tar")

    for catalogue in (there, here):
        files = find_model(catalogue[REPOSITORY], models_dir=catalogue.store.root, offline=True)
        model = load_model(REPOSITORY, files, Placement("cpu", "int8", 1))  # decodes once

        assert model.engine.revision == COMMIT
        assert catalogue[REPOSITORY].languages == ("en",)
