"""What the README of kuberay/ tells an operator to do fits what lies beside it."""

from __future__ import annotations

import re

import pytest
import yaml

from serve_app.settings import load_settings, with_user_config
from tests.kuberay.manifests import KUBERAY, OVERLAYS, ROOT, manifests_of

README = (KUBERAY / "README.md").read_text()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_overlay_is_one_command(overlay: str) -> None:
    assert README.count(f"kubectl apply -k kuberay/overlays/{overlay}\n") == 1


def test_readme_names_each_component() -> None:
    components = sorted(path.name for path in (KUBERAY / "components").iterdir())

    assert [name for name in components if name not in README] == []


def test_each_component_is_used() -> None:
    used = "".join((KUBERAY / "overlays" / name / "kustomization.yaml").read_text() for name in OVERLAYS)

    assert [path.name for path in (KUBERAY / "components").iterdir() if f"components/{path.name}\n" not in used] == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_live_settings_of_the_example_are_taken_by_each_overlay(overlay: str) -> None:
    settings = load_settings(manifests_of(overlay).args, {})
    (example,) = re.findall(r"```yaml\n(    deployments:\n.*?)```", README, re.DOTALL)

    for deployment in yaml.safe_load(example)["deployments"]:
        changed = with_user_config(settings, deployment["name"], deployment["user_config"])
        assert changed != settings


@pytest.mark.parametrize("page", ["kuberay/README.md", "docs/deploy-kubernetes.md"])
def test_paths_and_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    named = re.findall(r"`((?:components|overlays)/[\w./-]+)`", path.read_text())
    linked = re.findall(r"\]\((?!http)([^)#]+)", path.read_text())

    assert [n for n in named if not (KUBERAY / n).exists()] == []
    assert [link for link in linked if not (path.parent / link).exists()] == []


def test_image_has_what_the_probes_of_kuberay_are_made_of() -> None:
    dockerfile = (KUBERAY / "Dockerfile").read_text()

    (installed,) = re.findall(r"apt-get install ([^\n\\&]+)", dockerfile)
    assert {"bash", "grep", "wget"} <= set(installed.split())
