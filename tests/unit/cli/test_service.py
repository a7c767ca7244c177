"""A start that fails is a sentence."""

from __future__ import annotations

import pytest
import ray

from serve_app.cli.service import DeployFailed, start_ray


def test_ray_that_does_not_start_is_a_sentence_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(
        DeployFailed, match=r"^Ray did not start: The current node timed out.*: try again\. If it fails"
    ):
        start_ray()
