"""Each overlay keeps to every rule, and each rule refuses a manifest that breaks it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kuberay.manifests import KUBERAY, OVERLAYS, Manifests, Object, load_all, manifests_of, render, rendered
from tests.kuberay.rules import names, operator, pods, room, schemas, serving

Rule = Callable[[Manifests], Iterator[str]]

RULES: Mapping[str, Rule] = {
    rule.__name__: rule for module in (schemas, operator, serving, names, pods, room) for rule in module.RULES
}
BROKEN: list[Object] = yaml.safe_load(Path(__file__).with_name("broken.yaml").read_text())


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_keeps_to_the_rule(overlay: str, rule: Rule) -> None:
    assert [*rule(manifests_of(overlay))] == []


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: f"{case['rule']}-{BROKEN.index(case)}")
def test_rule_refuses(case: Object) -> None:
    """One change to an overlay that is in order, and the sentence that it must bring."""
    objects = copy.deepcopy(manifests_of(case["overlay"]).objects)
    _break(objects, case)

    said = [*RULES[case["rule"]](Manifests(objects))]

    assert any(case["says"] in sentence for sentence in said), said


def test_each_rule_has_a_manifest_that_breaks_it() -> None:
    assert {case["rule"] for case in BROKEN} == set(RULES)


def _break(objects: list[Object], case: Object) -> None:
    kind, _, name = case["object"].partition("/")
    if kind == "serve":
        service = next(o for o in objects if o["kind"] == "RayService")
        config = yaml.safe_load(service["spec"]["serveConfigV2"])
        _change(config, case)
        service["spec"]["serveConfigV2"] = yaml.safe_dump(config)
    else:
        _change(next(o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)), case)


def _change(tree: Any, case: Object) -> None:
    *above, last = (int(step) if step.isdigit() else step for step in case["at"].split("/"))
    for step in above:
        tree = tree[step]
    if "to" in case:
        tree[last] = case["to"]
    else:
        del tree[last]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_renders_to_the_same_each_time(overlay: str) -> None:
    assert render(KUBERAY / "overlays" / overlay) == rendered(overlay)


def test_key_that_is_there_twice_is_refused() -> None:
    with pytest.raises(yaml.constructor.ConstructorError, match="replicas is there twice"):
        load_all("spec:\n  replicas: 1\n  replicas: 2\n")


def test_prefix_to_all_names_leaves_nothing_behind(tmp_path: Path) -> None:
    """Kustomize knows nothing of a RayService; base/nameref.yaml tells it."""
    overlay = KUBERAY / "overlays" / "gpu-ha"
    relative = Path(*[".."] * len(tmp_path.resolve().parts[1:]), *overlay.parts[1:])
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"resources": [str(relative)], "namePrefix": "team-"}))

    found = Manifests(load_all(render(tmp_path)))

    claims = {claim for pod in found.pods() for claim in pod.claims.values()}
    assert claims == found.names("PersistentVolumeClaim") == {"team-rayscribe-data", "team-rayscribe-models"}
    accounts = {pod.spec.get("serviceAccountName") for pod in found.pods()} - {None}
    assert accounts == found.names("ServiceAccount") == {"team-rayscribe"}
