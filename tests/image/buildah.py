"""Debian's buildah makes the image of `kuberay/Dockerfile` without an engine, without a registry, and without a package index."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
START = Path(__file__).with_name("start.sh")
TOOLS = ("buildah", "debootstrap", "apt-get", "unshare", "setpriv")
SUITE = "bookworm"
BASE = f"localhost/rayscribe-test-base:{SUITE}"
COPIED = ("kuberay/Dockerfile", ".dockerignore", "LICENSE", "README.md", "pyproject.toml", "serve_app", "configs")


@dataclass(frozen=True)
class Image:
    """
    An image, and its file system where it is mounted.

    Args:
        config: What it declares: `User`, `Env`, `Entrypoint`, `Cmd`, `Labels`.
    """

    root: Path
    config: Mapping[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        return dict(variable.split("=", 1) for variable in self.config["Env"])

    @property
    def command(self) -> list[str]:
        return [*self.config["Entrypoint"], *self.config["Cmd"]]

    def start(self, data: Path, command: Sequence[str], log: Path, **more: str) -> subprocess.Popen[bytes]:
        """The command as user 1000 with a read-only root, the first process of its own, and in this machine's network."""
        inside = ["env", "-i", *(f"{name}={value}" for name, value in (self.environment | more).items()), *command]
        namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        start = ["bash", str(START), str(self.root), str(data)]
        with log.open("wb") as output:
            return subprocess.Popen([*namespaces, *start, *inside], stdout=output, stderr=subprocess.STDOUT)

    def run(self, data: Path, script: str) -> str:
        """What a shell script says inside; raises if it fails."""
        log = data.with_suffix(".log")
        code = self.start(data, ["bash", "-c", script], log).wait(timeout=120)
        assert code == 0, log.read_text()
        return log.read_text()


def why_not() -> str | None:
    """Why no image can be built on this machine; None if it can."""
    if os.geteuid() != 0:
        return "building an image here needs root"
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"{', '.join(missing)} missing: apt-get install buildah debootstrap"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        return "this container may not make mount namespaces"
    if sys.version_info[:2] != (3, 11):
        return "the wheels of this Python do not fit Debian 12, which has 3.11"
    return None


@contextlib.contextmanager
def built(*, target: str, models: Mapping[str, Path], arguments: Mapping[str, str]) -> Iterator[Image]:
    """
    Build a target, with these folders of weights in its context, and mount it.

    Args:
        arguments: Of the build, besides those that say where base and wheels are.
    """
    tag = f"localhost/rayscribe-test:{target}"
    with tempfile.TemporaryDirectory() as folder:  # not pytest's, which would keep a gigabyte of the last three runs
        make_base(Path(folder) / "base")
        build(Path(folder), tag, target, models, arguments)
    container = buildah("from", "--pull-never", tag)
    try:
        config = json.loads(buildah("inspect", "--type", "image", tag))["Docker"]["config"]
        yield Image(Path(buildah("mount", container)), config)
    finally:
        buildah("rm", container)
        buildah("rmi", tag)


def build(folder: Path, tag: str, target: str, models: Mapping[str, Path], arguments: Mapping[str, str]) -> None:
    context, wheels = folder / "context", folder / "wheels"
    lay_out(context, models)
    download(wheels, cuda=arguments.get("CUDA_VERSION"))
    given = {"BASE_IMAGE": BASE, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels", **arguments}
    buildah(
        *("bud", "--isolation", "chroot", "--network", "host", "--pull-never", "--format", "docker"),
        *("--volume", f"{wheels}:/wheels:ro", "--target", target, "--tag", tag),
        *(f"--build-arg={name}={value}" for name, value in given.items()),
        *("--file", str(context / "kuberay" / "Dockerfile"), str(context)),
    )


def make_base(root: Path) -> None:
    """What `python:3.11-slim-bookworm` is, from Debian's archive; kept, because that takes a minute."""
    if (
        subprocess.run(["buildah", "inspect", "--type", "image", BASE], capture_output=True, check=False).returncode
        == 0
    ):
        return
    uris = say(
        "apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", f"Codename: {SUITE}"
    ).split()
    say("debootstrap", "--variant=minbase", "--include=ca-certificates,python3-venv", SUITE, str(root), *uris[:1])
    container = buildah("from", "scratch")
    buildah("add", "--quiet", container, str(root), "/")
    buildah("commit", "--quiet", "--format", "docker", container, BASE)
    buildah("rm", container)


def lay_out(context: Path, models: Mapping[str, Path]) -> None:
    """The files that a build reads, and no others: a checkout also has folders of gigabytes."""
    for name in (*COPIED, *(lock.name for lock in ROOT.glob("requirements*.txt"))):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, context / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, context / name)
    for name, weights in models.items():
        shutil.copytree(weights, context / "models" / name)


def download(wheels: Path, *, cuda: str | None) -> None:
    """The wheels of the locks, from wherever this machine's pip gets them."""
    locks = ["requirements.txt", "requirements-image.txt", *([f"requirements-cuda-{cuda}.txt"] if cuda else [])]
    for lock in locks:
        options = ["--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps", "--dest", str(wheels)]
        say(sys.executable, "-m", "pip", "download", *options, "--requirement", str(ROOT / lock))


def buildah(*arguments: str) -> str:
    return say("buildah", *arguments)


def say(*command: str) -> str:
    """What a command prints; an `AssertionError` with its last words if it fails."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{command[:2]} failed:\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"
    return ended.stdout.strip()
