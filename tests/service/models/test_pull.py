"""Weights come from a hub by HTTP: whole, verified, once, and never when the service is offline."""

from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serve_app.errors import InvalidRequest, ModelLoadFailed, PullFailed
from serve_app.models import pull as pulling
from serve_app.models.catalogue import Catalogue
from serve_app.models.manifest import damaged
from serve_app.models.pull import PullCancelled, PullProgress, pull
from serve_app.models.sources import find_model
from serve_app.models.store import WeightStore
from serve_app.models.weights import pull_model, remove_model
from serve_app.settings import ModelSettings, Settings
from tests.service.models.conftest import CHUNK_BYTES
from tests.service.models.hub import COMMIT, MODEL, MULTILINGUAL, FakeHub

REPOSITORY = "Systran/faster-whisper-test"
HALF_BYTES = len(MODEL["model.bin"]) // 2
WAIT_S = 30


def settings(folder: Path, **args: object) -> Settings:
    return Settings.model_validate({"data_dir": str(folder), **args})


def stop_at(done_bytes: int, stop: threading.Event) -> Callable[[PullProgress], None]:
    return lambda progress: stop.set() if progress.done_bytes >= done_bytes else None


def test_pulled_model_has_the_files_of_a_model_and_a_manifest_that_fits(hub: FakeHub, store: WeightStore) -> None:
    pulled = pull(store, REPOSITORY)

    assert {path.name for path in pulled.directory.iterdir()} == {*MODEL, "rayscribe-model.json"} - {"README.md"}
    assert (pulled.directory / "model.bin").read_bytes() == MODEL["model.bin"]
    assert (pulled.manifest.source, pulled.manifest.revision) == (REPOSITORY, COMMIT)
    assert damaged(pulled.directory, pulled.manifest) == []
    assert store.find(REPOSITORY) == pulled


@pytest.mark.parametrize(
    ("tokenizer", "languages", "tasks"),
    [(MODEL["tokenizer.json"], ("en",), ("transcribe",)), (MULTILINGUAL, (), ("transcribe", "translate"))],
)
def test_vocabulary_tells_what_a_pulled_model_can_do(
    hub: FakeHub, store: WeightStore, tokenizer: bytes, languages: tuple[str, ...], tasks: tuple[str, ...]
) -> None:
    hub.repositories[REPOSITORY]["tokenizer.json"] = tokenizer

    manifest = pull(store, REPOSITORY).manifest

    assert (manifest.languages, manifest.tasks) == (languages, tasks)


def test_progress_grows_to_all_bytes(hub: FakeHub, store: WeightStore) -> None:
    told: list[PullProgress] = []
    pulled = pull(store, REPOSITORY, tell=told.append)

    done = [progress.done_bytes for progress in told]
    assert {progress.total_bytes for progress in told} == {pulled.manifest.size_bytes}
    assert done == sorted(done)
    assert done[-1] == pulled.manifest.size_bytes
    assert len(set(done)) > pulled.manifest.size_bytes // CHUNK_BYTES


def test_token_goes_to_the_hub_and_not_to_where_it_sends_us_on(hub: FakeHub, store: WeightStore) -> None:
    hub.token = "hf_secret"
    pull(store, REPOSITORY, token="hf_secret")

    assert {r.token for r in hub.requests if r.path.startswith("/storage/")} == {None}
    assert {r.token for r in hub.requests if r.path.startswith(("/api/models/", "/Systran/"))} == {"Bearer hf_secret"}


def test_private_repository_without_a_token_says_what_to_set(hub: FakeHub, store: WeightStore) -> None:
    hub.token = "hf_secret"

    with pytest.raises(PullFailed, match="private or gated set HF_TOKEN"):
        pull(store, REPOSITORY)


@pytest.mark.server
def test_cut_connection_is_taken_up_where_it_broke(hub: FakeHub, store: WeightStore) -> None:
    hub.cut_after["model.bin"] = HALF_BYTES
    pulled = pull(store, REPOSITORY)

    assert damaged(pulled.directory, pulled.manifest) == []
    assert [request.range for request in hub.asked("model.bin")] == [None, f"bytes={HALF_BYTES}-"]


def test_stopped_pull_publishes_nothing_and_the_next_one_goes_on(hub: FakeHub, store: WeightStore) -> None:
    stop = threading.Event()
    with pytest.raises(PullCancelled):
        pull(store, REPOSITORY, tell=stop_at(HALF_BYTES, stop), stop=stop)
    after_stop = store.find(REPOSITORY)
    pulled = pull(store, REPOSITORY)

    assert after_stop is None
    assert damaged(pulled.directory, pulled.manifest) == []
    assert len(hub.asked("tokenizer.json")) == 1
    resumed = hub.asked("model.bin")[1].range
    assert resumed is not None
    assert int(resumed.removeprefix("bytes=").removesuffix("-")) >= HALF_BYTES - 2 * CHUNK_BYTES


def test_half_of_another_commit_is_not_gone_on_with(hub: FakeHub, store: WeightStore) -> None:
    stop = threading.Event()
    with pytest.raises(PullCancelled):
        pull(store, REPOSITORY, tell=stop_at(HALF_BYTES, stop), stop=stop)
    hub.commit = "d" * 40
    hub.repositories[REPOSITORY]["model.bin"] = MODEL["model.bin"][::-1]
    pulled = pull(store, REPOSITORY)

    assert (pulled.directory / "model.bin").read_bytes() == MODEL["model.bin"][::-1]
    assert pulled.manifest.revision == "d" * 40


@pytest.mark.parametrize("name", ["model.bin", "config.json"])
def test_file_with_another_checksum_is_refused_and_forgotten(hub: FakeHub, store: WeightStore, name: str) -> None:
    hub.wrong.add(name)
    with pytest.raises(PullFailed, match=f"{name} did not come as the hub describes it"):
        pull(store, REPOSITORY)
    hub.wrong.clear()
    pulled = pull(store, REPOSITORY)

    assert damaged(pulled.directory, pulled.manifest) == []


def test_model_that_is_here_already_is_not_downloaded_again(hub: FakeHub, store: WeightStore) -> None:
    first = pull(store, REPOSITORY)
    asked = len(hub.asked("model.bin"))

    assert pull(store, REPOSITORY) == first
    assert len(hub.asked("model.bin")) == asked == 1


def test_new_commit_on_the_hub_takes_the_place_of_the_old_one(hub: FakeHub, store: WeightStore) -> None:
    pull(store, REPOSITORY)
    hub.commit = "e" * 40
    hub.repositories[REPOSITORY]["config.json"] = b'{"new": 1}'
    pulled = pull(store, REPOSITORY)

    assert (pulled.directory / "config.json").read_bytes() == b'{"new": 1}'
    assert [model.manifest.revision for model in store.all().values()] == ["e" * 40]


def test_pinned_revision_lies_beside_the_main_branch(hub: FakeHub, store: WeightStore) -> None:
    pull(store, REPOSITORY)
    pinned = pull(store, REPOSITORY, "v1")

    assert store.find(REPOSITORY, "v1") == pinned
    assert store.find(REPOSITORY) != pinned


def test_pulls_of_one_model_at_the_same_time_are_one_download(hub: FakeHub, store: WeightStore) -> None:
    half_out, go_on, waits = threading.Event(), threading.Event(), threading.Event()
    hub.gate["model.bin"] = (half_out, go_on)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(pull, store, REPOSITORY)
        assert half_out.wait(WAIT_S)
        second = threads.submit(pull, WeightStore(store.root), REPOSITORY, tell=lambda _: waits.set())
        assert waits.wait(WAIT_S)
        go_on.set()
        pulled = first.result(WAIT_S)

        assert second.result(WAIT_S) == pulled
    assert len(hub.asked("model.bin")) == 1
    assert not store.has_half_done(REPOSITORY)


def test_who_waits_reports_how_far_the_other_one_is(hub: FakeHub, store: WeightStore) -> None:
    half_out, go_on, waits = threading.Event(), threading.Event(), threading.Event()
    hub.gate["model.bin"] = (half_out, go_on)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(pull, store, REPOSITORY)
        assert half_out.wait(WAIT_S)
        second = threads.submit(pull, WeightStore(store.root), REPOSITORY, tell=stop_at(HALF_BYTES, waits))
        assert waits.wait(WAIT_S)
        unfinished = not first.done()
        go_on.set()
        second.result(WAIT_S)

    assert unfinished


def test_stop_of_one_pull_leaves_the_other_that_waits_for_it_to_finish(hub: FakeHub, store: WeightStore) -> None:
    half_out, go_on, waits, stop = (threading.Event() for _ in range(4))
    hub.gate["model.bin"] = (half_out, go_on)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(pull, store, REPOSITORY, stop=stop)
        assert half_out.wait(WAIT_S)
        second = threads.submit(pull, WeightStore(store.root), REPOSITORY, tell=lambda _: waits.set())
        assert waits.wait(WAIT_S)
        stop.set()
        go_on.set()

        with pytest.raises(PullCancelled):
            first.result(WAIT_S)
        assert damaged(second.result(WAIT_S).directory, second.result().manifest) == []


def test_repository_without_converted_weights_says_what_is_needed(hub: FakeHub, store: WeightStore) -> None:
    hub.repositories["openai/whisper-tiny"] = {"model.safetensors": b"x", "tokenizer.json": b"{}", "config.json": b"{}"}

    with pytest.raises(PullFailed, match=r"no model\.bin, so it is no Whisper model in CTranslate2's format"):
        pull(store, "openai/whisper-tiny")
    assert [path for path in hub.requests if "resolve" in path.path] == []


@pytest.mark.parametrize(
    ("repository", "revision", "says"),
    [("Systran/none", None, "The hub shows no model Systran/none"), (REPOSITORY, "v9", "has no revision v9")],
)
def test_what_the_hub_does_not_have_is_named(
    hub: FakeHub, store: WeightStore, repository: str, revision: str | None, says: str
) -> None:
    with pytest.raises(PullFailed, match=says):
        pull(store, repository, revision)


def test_hub_that_is_ill_is_named_with_its_answer(hub: FakeHub, store: WeightStore) -> None:
    hub.status = 500

    with pytest.raises(PullFailed, match="The model hub answered 500"):
        pull(store, REPOSITORY)


def test_hub_that_tells_no_checksums_is_not_trusted(hub: FakeHub, store: WeightStore) -> None:
    hub.tells_sums = False

    with pytest.raises(PullFailed, match="no size or checksum"):
        pull(store, REPOSITORY)


def test_data_dir_that_cannot_be_written_is_named(hub: FakeHub, store: WeightStore) -> None:
    store.root.write_text("a file")

    with pytest.raises(PullFailed, match=r"models cannot be used: (Not a directory|File exists)"):
        pull(store, REPOSITORY)


def test_disk_without_room_is_told_before_a_byte_is_downloaded(
    hub: FakeHub, store: WeightStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    total, used, _ = shutil.disk_usage(store.root.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(total, used, 10))  # type: ignore[attr-defined]

    with pytest.raises(PullFailed, match="0 MB free: make room"):
        pull(store, REPOSITORY)
    assert hub.asked("model.bin") == []


def test_disk_that_fills_up_meanwhile_is_told_and_given_back(
    hub: FakeHub, store: WeightStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pulling._Watched, "write", full)

    with pytest.raises(PullFailed, match="The disk of data_dir is full"):
        pull(store, REPOSITORY)
    assert store.all() == {}
    assert not store.has_half_done(REPOSITORY)


@pytest.mark.parametrize("name", ["../../etc", "/etc/passwd", "a/../b", "a//b", ".hidden/x", "a\x00b", "", "a--b/c"])
def test_hostile_name_is_refused_before_the_hub_or_the_disk_sees_it(
    hub: FakeHub, store: WeightStore, name: str
) -> None:
    with pytest.raises(InvalidRequest, match="cannot be a model"):
        pull(store, name)
    assert not store.root.exists()
    assert hub.requests == []


@pytest.mark.disable_socket
def test_offline_pull_opens_no_connection(store: WeightStore) -> None:
    catalogue = Catalogue(settings(store.root.parent, offline=True))

    with pytest.raises(PullFailed, match="offline is set"):
        pull_model(catalogue, REPOSITORY)


@pytest.mark.disable_socket
def test_offline_load_opens_no_connection(store: WeightStore) -> None:
    with pytest.raises(ModelLoadFailed, match="offline is set"):
        find_model(ModelSettings(source=REPOSITORY), models_dir=store.root, offline=True)


def test_model_that_was_pulled_before_is_there_offline(hub: FakeHub, store: WeightStore) -> None:
    pulled = pull(store, REPOSITORY)
    asked = len(hub.requests)
    catalogue = Catalogue(settings(store.root.parent, offline=True))

    assert pull_model(catalogue, REPOSITORY) == pulled
    assert len(hub.requests) == asked


def test_load_of_a_model_of_the_settings_pulls_it_first(hub: FakeHub, store: WeightStore) -> None:
    model = ModelSettings(source=REPOSITORY)
    files = find_model(model, models_dir=store.root, offline=False)

    assert files.revision == COMMIT
    assert find_model(model, models_dir=store.root, offline=True) == files


def test_model_of_the_settings_is_pulled_from_its_source_whatever_is_allowed(hub: FakeHub, store: WeightStore) -> None:
    hub.repositories["ours/whisper"] = dict(MODEL)
    args = {"models": {"m": {"source": "ours/whisper"}}, "default_model": "m", "hub": {"allow": []}}
    catalogue = Catalogue(settings(store.root.parent, **args))

    assert pull_model(catalogue, "whisper-1").manifest.source == "ours/whisper"


@pytest.mark.parametrize("name", ["evil/whisper", "Systran", "Systran/a/b"])
def test_repository_that_is_not_allowed_is_refused_without_asking_for_it(
    hub: FakeHub, store: WeightStore, name: str
) -> None:
    with pytest.raises(InvalidRequest, match=r"not among the repositories that hub\.allow names"):
        pull_model(Catalogue(settings(store.root.parent)), name)
    assert hub.requests == []


def test_model_of_a_wheel_needs_no_pull(store: WeightStore) -> None:
    with pytest.raises(InvalidRequest, match="needs no pull"):
        pull_model(Catalogue(settings(store.root.parent)), "tiny.en")


def test_removal_of_half_a_pull_gives_its_room_back(hub: FakeHub, store: WeightStore) -> None:
    stop = threading.Event()
    with pytest.raises(PullCancelled):
        pull(store, REPOSITORY, tell=stop_at(HALF_BYTES, stop), stop=stop)
    remove_model(Catalogue(settings(store.root.parent)), REPOSITORY)

    assert not store.has_half_done(REPOSITORY)


def test_load_while_the_hub_is_away_may_be_tried_again(hub: FakeHub, store: WeightStore) -> None:
    hub.status = 500

    with pytest.raises(PullFailed, match="Try again"):
        find_model(ModelSettings(source=REPOSITORY), models_dir=store.root, offline=False)


def test_load_of_what_the_hub_does_not_have_is_hopeless(hub: FakeHub, store: WeightStore) -> None:
    with pytest.raises(ModelLoadFailed, match="check the name"):
        find_model(ModelSettings(source="Systran/absent"), models_dir=store.root, offline=False)
