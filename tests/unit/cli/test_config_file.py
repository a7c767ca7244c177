"""Config files are read more strictly than Serve reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app.cli.config_file import read_config
from serve_app.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
APPLICATION: dict[str, Any] = {"import_path": "serve_app.app:build_app"}


def deployments(*blocks: Any) -> dict[str, Any]:
    return {"applications": [{**APPLICATION, "deployments": [*blocks]}]}


def write(folder: Path, tree: Any) -> Path:
    path = folder / "config.yaml"
    path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree))
    return path


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_config_is_valid(path: Path) -> None:
    config = read_config(path)

    assert config.settings.default_model in config.settings.models


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"aplications": []}, "aplications is not known; did you mean applications?"),
        ({"applications": []}, "applications must be a list of one application"),
        (deployments({"name": "Gateway", "num_replicas": 2}), "deployments[0].num_replicas is refused"),
        (
            deployments({"name": "Gatewy"}),
            "deployments[0].name must be one of Gateway, Pipeline, Coordinator, Recognizer",
        ),
        (deployments({"name": "Gateway", "user_config": 3}), "deployments[0].user_config must be a mapping"),
        (
            deployments({"name": "Gateway", "user_config": {"http": {"port": 1}}}),
            "user_config of Gateway: http.port is none of limits.max_requests, limits.max_requests_per_key,"
            " limits.requests_per_minute_per_key, log_level; what else there is belongs in args",
        ),
        (
            deployments({"name": "Recognizer", "user_config": {"lifecycle": {"unload_after_s": -5}}}),
            "user_config of Recognizer: lifecycle",
        ),
        ({"applications": [{**APPLICATION, "arguments": {}}]}, "applications[0].arguments is not known"),
        ({"applications": [{"import_path": "other:app"}]}, "import_path must be serve_app.app:build_app"),
        (
            {"http_options": {"prt": 1}, "applications": [APPLICATION]},
            "http_options.prt is not known; did you mean port?",
        ),
        ({"applications": [{**APPLICATION, "args": {"htp": 1}}]}, "htp is not a setting"),
        ({"default_model": "tiny.en"}, "default_model is not known; as a setting it belongs below `args:`"),
        ({"applications": [{**APPLICATION, "offline": True}]}, "offline is not known; as a setting it belongs below"),
        (
            "applications: []\nhttp_options: {port: 1}\napplications: []\n",
            "applications stands there twice, again in line 3",
        ),
        ("a: [", "is not YAML"),
        ("just words", "must be a mapping"),
    ],
)
def test_mistake_is_named(tmp_path: Path, tree: Any, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_config(write(tmp_path, tree))

    assert says in refused.value.message
    assert "config.yaml" in refused.value.message


def test_what_may_change_live_is_kept_by_deployment(tmp_path: Path) -> None:
    config = read_config(write(tmp_path, deployments({"name": "Gateway", "user_config": {"log_level": "DEBUG"}})))

    assert config.user_configs == {"Gateway": {"log_level": "DEBUG"}}


def test_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_config(Path("/no/such/config.yaml"))


def test_port_of_the_environment_wins_over_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9000")
    config = read_config(write(tmp_path, {"http_options": {"port": 8001}, "applications": [APPLICATION]}))

    assert config.http_options["port"] == 9000
    assert config.args["http"]["port"] == 9000


def test_traces_are_asked_for_as_serve_does(tmp_path: Path) -> None:
    tracing = {"enabled": True, "sampling_ratio": 0.5}

    config = read_config(write(tmp_path, {"tracing_config": tracing, "applications": [APPLICATION]}))

    assert config.tracing_config == tracing
