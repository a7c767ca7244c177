"""The Dockerfile and compose.yaml say what the rest of the repository says; `tests/image` builds and starts the image."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app.cli.service import PROCESSES

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "kuberay" / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = sorted(COMPOSE["services"])


def stage(name: str) -> str:
    """The instructions of one stage, without comments and line ends."""
    found = re.search(rf"^FROM \S+ AS {name}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert found
    return re.sub(r"^#.*\n", "", found[1], flags=re.MULTILINE).replace("\\\n", " ")


def environment(name: str) -> dict[str, str]:
    words = [word for line in stage(name).splitlines() if line.startswith("ENV ") for word in shlex.split(line[4:])]
    return dict(word.split("=", 1) for word in words)


def test_image_gives_all_processes_what_rayscribe_serve_gives_them() -> None:
    image = environment("runtime")

    assert {name: image.get(name) for name in PROCESSES} == PROCESSES


def test_image_holds_no_setting_that_would_win_over_a_config_file() -> None:
    names = {name for which in ("runtime", "cpu", "cuda") for name in environment(which)}

    assert [name for name in names if name.startswith("RAYSCRIBE_") or name in {"HOST", "PORT", "DATA_DIR"}] == []


def test_each_package_of_the_image_is_pinned_by_its_hash() -> None:
    installs = [line for line in DOCKERFILE.replace("\\\n", " ").splitlines() if "pip install" in line]

    assert len(installs) == 3
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)


@pytest.mark.parametrize("flavour", ["cpu", "cuda"])
def test_image_runs_as_a_user_that_is_not_root_with_the_application_as_its_last_layer(flavour: str) -> None:
    lines = [line.split(maxsplit=1) for line in stage(flavour).splitlines() if line.strip()]

    assert ["USER", "1000:1000"] in lines
    layers = [arguments for instruction, arguments in lines if instruction in {"RUN", "COPY"}]
    assert layers[-1] == "--from=app /opt/app /opt/app"


def test_each_cuda_version_that_the_dockerfile_names_has_its_lock() -> None:
    locks = {path.stem.removeprefix("requirements-cuda-") for path in ROOT.glob("requirements-cuda-*.txt")}
    named = re.search(r"^# Which requirements-cuda-\*\.txt: (.+)\.$", DOCKERFILE, re.MULTILINE)

    assert named
    assert set(re.findall(r"\d+\.\d+", named[1])) == locks
    assert f"ARG CUDA_VERSION={max(locks)}\n" in DOCKERFILE


def test_each_lock_of_cuda_has_the_library_that_ctranslate2_opens() -> None:
    for lock in ROOT.glob("requirements-cuda-*.txt"):
        version = lock.stem.removeprefix("requirements-cuda-")
        assert f"nvidia-cublas-cu12=={version}." in lock.read_text()


def test_what_the_dockerfile_copies_is_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copies = [
        line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY ") and "--from" not in line
    ]
    sources = {source.rstrip("/") for words in copies for source in words if not source.startswith("--")}

    assert {re.sub(r"\$\{\w+\}", "*", source) for source in sources} == kept


@pytest.mark.parametrize("name", SERVICES)
def test_service_of_compose_may_do_no_more_than_it_needs(name: str) -> None:
    service = COMPOSE["services"][name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {path.split(":")[0] for path in service["tmpfs"]} == {"/tmp", "/home/ray"}
    assert "privileged" not in service
    assert all(port.startswith("${BIND:-127.0.0.1}:") for port in service["ports"])


@pytest.mark.parametrize("name", SERVICES)
def test_keys_in_compose_are_files_and_no_values(name: str) -> None:
    service = COMPOSE["services"][name]

    assert service["environment"]["RAYSCRIBE_AUTH__API_KEY_FILE"] == f"/run/secrets/{service['secrets'][0]}"
    assert set(service["secrets"]) <= set(COMPOSE["secrets"])
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())


@pytest.mark.parametrize("name", SERVICES)
def test_compose_waits_for_a_drain_before_it_kills(name: str) -> None:
    service = COMPOSE["services"][name]
    drain_s = float(service["environment"]["RAYSCRIBE_GATEWAY__DRAIN_S"])

    assert float(service["stop_grace_period"].removesuffix("s")) >= drain_s + 10


@pytest.mark.parametrize("name", SERVICES)
def test_each_flavour_has_its_profile_target_and_tag(name: str) -> None:
    service: dict[str, Any] = COMPOSE["services"][name]
    target = service["build"]["target"]

    assert service["profiles"] == [{"cpu": "cpu", "cuda": "gpu"}[target]]
    assert service["image"] == "rayscribe:0.1.0" + {"cpu": "-cpu", "cuda": ""}[target]
    assert ("deploy" in service) is (target == "cuda")
    assert {volume.split(":")[0] for volume in service["volumes"] if volume.startswith("data:")} <= set(
        COMPOSE["volumes"]
    )
