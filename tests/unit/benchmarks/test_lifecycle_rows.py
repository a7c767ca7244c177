"""The services of the rows about models that come and go."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import ctranslate2
import pytest

from benchmarks.bare import deployment
from benchmarks.corpus import Corpus
from benchmarks.failure import NotHere
from benchmarks.gpu_rows import GPU_ROWS
from benchmarks.lifecycle_rows import CAPACITY, MANY_MODELS, lifecycle_args, model_names, parked_ready
from benchmarks.reference import TINY_EN
from benchmarks.rows import Finding, Plan, added
from serve_app.cli.config_file import read_config
from serve_app.settings import load_settings
from tests.cluster.running import config_file


def test_many_models_are_as_many_ids_of_the_same_weights() -> None:
    settings = load_settings(lifecycle_args(model_names(MANY_MODELS), max_models=CAPACITY), env={})

    assert len(settings.models) == MANY_MODELS
    assert len({model.source for model in settings.models.values()}) == 1
    assert settings.lifecycle.max_models == CAPACITY


@pytest.mark.parametrize("args", [TINY_EN.service_args(), lifecycle_args(["tiny.en"])])
def test_idleness_frees_no_model_between_the_turns_of_the_other_side(args: dict[str, object]) -> None:
    lifecycle = load_settings(args, env={}).lifecycle

    assert (lifecycle.parks_after_s, lifecycle.unloads_after_s) == (math.inf, math.inf)


def test_bare_deployment_comes_from_zero_as_the_recogniser_does(tmp_path: Path) -> None:
    args = lifecycle_args(["tiny.en"], min_replicas=0, unload_after_s=1, zero_after_s=6)

    scaling = deployment(read_config(config_file(tmp_path, **args)))._deployment_config.autoscaling_config

    assert (scaling.min_replicas, scaling.initial_replicas) == (0, 0)
    assert (scaling.metrics_interval_s, scaling.downscale_to_zero_delay_s) == (1, 1)


@pytest.mark.parametrize("row", [parked_ready, *GPU_ROWS.values()])
def test_rows_of_a_gpu_say_that_they_need_one(row: Callable[[Plan], Finding], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 0)

    with pytest.raises(NotHere, match="needs a GPU"):
        row(Plan(Corpus(())))


def test_difference_is_of_the_medians_unless_another_is_asked_for() -> None:
    ours, theirs = [0.5, 0.1, 0.2], [0.1, 0.1, 0.3]

    assert added("p50", ours, theirs).value == pytest.approx(100)
    assert added("max", ours, theirs, of=max).value == pytest.approx(200)
    assert added("max", ours, theirs, of=max).ours == "500 ms"
