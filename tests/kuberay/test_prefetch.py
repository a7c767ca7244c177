"""The Job that fills the volume, run as it is rendered, against a hub on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app.models.catalogue import Catalogue
from serve_app.models.manifest import damaged
from serve_app.settings import load_settings
from tests.kuberay.manifests import Manifests, manifests_of
from tests.service.models.hub import FakeHub, serving_hub

pytestmark = pytest.mark.slow

REPOSITORY = "Systran/faster-whisper-test"
MOUNTED = "/etc/rayscribe/config/"


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with serving_hub(FakeHub()) as hub:
        yield hub


def serve_config(manifests: Manifests, folder: Path) -> Path:
    """The ConfigMap's file, with a small model and a folder of this test."""
    tree = yaml.safe_load(next(c for c in manifests.of("ConfigMap") if "serve.yaml" in c["data"])["data"]["serve.yaml"])
    tree["applications"][0]["args"] |= {
        "data_dir": str(folder / "data"),
        "models": {"large-v3": {"source": REPOSITORY}},
    }
    path = folder / "serve.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def run_job(manifests: Manifests, hub: FakeHub, folder: Path) -> subprocess.CompletedProcess[str]:
    """The container's own command and variables; mounts are folders of this test."""
    (container,) = manifests.one("Job")["spec"]["template"]["spec"]["containers"]
    command = [word.replace(MOUNTED, f"{folder}/") for word in container["command"]]
    given = {v["name"]: v["value"] for v in container["env"] if "value" in v}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    (folder / "tmp").mkdir(exist_ok=True)
    folders = {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}
    loopback = {"HF_ENDPOINT": hub.url, "NO_PROXY": "*", "PATH": path, **folders}
    return subprocess.run(
        command, env={**loopback, **given}, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def catalogue(config: Path) -> Catalogue:
    """What a pod of the service sees, which is offline."""
    args: dict[str, Any] = yaml.safe_load(config.read_text())["applications"][0]["args"]
    assert args["offline"]
    return Catalogue(load_settings(args, {}))


def test_job_leaves_what_an_offline_service_loads(hub: FakeHub, tmp_path: Path) -> None:
    config = serve_config(manifests_of("gpu"), tmp_path)
    before = catalogue(config).is_here("large-v3")

    ended = run_job(manifests_of("gpu"), hub, tmp_path)

    assert (ended.returncode, before) == (0, False), ended.stderr
    (pulled,) = catalogue(config).store.all().values()
    assert catalogue(config).files("large-v3").directory == pulled.directory
    assert damaged(pulled.directory, pulled.manifest) == []


def test_job_writes_nothing_but_the_models(hub: FakeHub, tmp_path: Path) -> None:
    serve_config(manifests_of("gpu"), tmp_path)

    ended = run_job(manifests_of("gpu"), hub, tmp_path)

    assert ended.returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"serve.yaml", "data", "tmp"}, "it wants a home"
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["models"]
    assert not any((tmp_path / "tmp").iterdir())


def test_job_that_failed_goes_on_where_it_was(hub: FakeHub, tmp_path: Path) -> None:
    config = serve_config(manifests_of("gpu"), tmp_path)
    hub.status = 503
    failed = run_job(manifests_of("gpu"), hub, tmp_path)
    half = catalogue(config).is_here("large-v3")
    hub.status = 200

    ended = run_job(manifests_of("gpu"), hub, tmp_path)

    assert (failed.returncode, half, ended.returncode) == (1, False, 0)
    assert catalogue(config).is_here("large-v3")


def test_job_that_ran_before_downloads_nothing(hub: FakeHub, tmp_path: Path) -> None:
    serve_config(manifests_of("gpu"), tmp_path)
    run_job(manifests_of("gpu"), hub, tmp_path)
    hub.requests.clear()

    again = run_job(manifests_of("gpu"), hub, tmp_path)

    assert again.returncode == 0
    assert hub.asked("model.bin") == []
