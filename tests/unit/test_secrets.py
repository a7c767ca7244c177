"""Secrets that the settings only name."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serve_app.cli.doctor import findings, report
from serve_app.cli.settings_table import as_markdown, as_text
from serve_app.errors import ConfigError
from serve_app.settings import (
    HubSettings,
    JobSettings,
    WebhookSettings,
    load_settings,
    read_database_url,
    read_hub_token,
    read_webhook_secret,
)

LOCAL = Path(__file__).resolve().parents[2] / "configs" / "local.yaml"
URL = "postgresql://user:hidden@db/jobs"
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "secret"
        path.write_text(text)
        return str(path)

    return write


def test_without_any_there_is_none() -> None:
    assert read_database_url(JobSettings(), {}) is None
    assert read_webhook_secret(WebhookSettings(), {"WEBHOOK_SECRET": ""}) is None


def test_the_variable_is_read_under_its_configured_name() -> None:
    assert read_database_url(JobSettings(), {"RAYSCRIBE_DATABASE_URL": URL}) == URL
    assert read_webhook_secret(WebhookSettings(secret_env="MINE"), {"MINE": SECRET}) == SECRET


def test_the_file_is_read_without_its_line_end(file: Callable[[str], str]) -> None:
    assert read_database_url(JobSettings(database_url_file=file(URL + "\n")), {}) == URL
    assert read_webhook_secret(WebhookSettings(secret_file=file(SECRET + "\n")), {}) == SECRET


def test_a_secret_without_padding_is_one() -> None:
    bare = SECRET.rstrip("=")

    assert read_webhook_secret(WebhookSettings(), {"WEBHOOK_SECRET": bare}) == bare


@pytest.mark.parametrize(
    "secret",
    ["hidden", SECRET.removeprefix("whsec_"), "whsec_", "whsec_hidden!", "whsec_aGlkZGVu", "whsec_é" + "a" * 40],
)
def test_a_secret_that_receivers_could_not_use_is_refused_without_showing_it(secret: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_webhook_secret(WebhookSettings(), {"WEBHOOK_SECRET": secret})

    assert "WEBHOOK_SECRET holds no secret of Standard Webhooks" in refused.value.message
    assert secret.removeprefix("whsec_") == "" or secret not in refused.value.message


@pytest.mark.parametrize("url", ["sqlite:///hidden", "hidden", "mysql://user:hidden@db/jobs"])
def test_a_database_of_another_kind_is_refused_without_showing_its_url(url: str) -> None:
    with pytest.raises(ConfigError, match="RAYSCRIBE_DATABASE_URL holds no URL of a PostgreSQL") as refused:
        read_database_url(JobSettings(), {"RAYSCRIBE_DATABASE_URL": url})

    assert "hidden" not in refused.value.message


def test_two_different_values_are_a_mistake(file: Callable[[str], str]) -> None:
    jobs = JobSettings(database_url_file=file(URL))

    assert read_database_url(jobs, {"RAYSCRIBE_DATABASE_URL": URL}) == URL
    with pytest.raises(ConfigError, match="hold different values: remove one"):
        read_database_url(jobs, {"RAYSCRIBE_DATABASE_URL": URL + "2"})


def test_an_emptied_file_is_not_the_absence_of_a_secret(file: Callable[[str], str]) -> None:
    with pytest.raises(ConfigError, match=r"webhooks\.secret_file is empty"):
        read_webhook_secret(WebhookSettings(secret_file=file("\n")), {})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"jobs\.database_url_file: No such file or directory \(.*missing\)"):
        read_database_url(JobSettings(database_url_file=str(tmp_path / "missing")), {})


def test_a_file_that_is_not_text_does_not_show_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfehidden")

    with pytest.raises(ConfigError, match="is not text") as refused:
        read_webhook_secret(WebhookSettings(secret_file=str(tmp_path / "key")), {})
    assert refused.value.__suppress_context__


def test_token_of_the_hub_comes_from_its_variable_or_its_file(file: Callable[[str], str]) -> None:
    assert read_hub_token(HubSettings(), {}) is None
    assert read_hub_token(HubSettings(), {"HF_TOKEN": "hf_hidden"}) == "hf_hidden"
    assert read_hub_token(HubSettings(token_env="MINE"), {"MINE": "hf_hidden", "HF_TOKEN": "other"}) == "hf_hidden"
    assert read_hub_token(HubSettings(token_file=file("hf_hidden\n")), {}) == "hf_hidden"


@pytest.mark.parametrize("token", ["hf_hidden hf_hidden", "hf_hidden\r\nX: y", "hf_hiddené"])
def test_a_token_that_is_no_header_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(ConfigError, match="HF_TOKEN holds no token") as refused:
        read_hub_token(HubSettings(), {"HF_TOKEN": token})

    assert "hidden" not in refused.value.message


SECRETS = {
    "API_KEY": "sk-hidden, app:jobs:sk-hidden2",
    "ADMIN_API_KEY": "sk-hidden3",
    "HF_TOKEN": "hf_hidden",
    "WEBHOOK_SECRET": "whsec_hidden",
    "RAYSCRIBE_DATABASE_URL": URL,
}


def test_settings_hold_no_secret_because_ray_keeps_them_and_shows_them() -> None:
    settings = load_settings({}, SECRETS)

    assert "hidden" not in settings.model_dump_json() + repr(settings)


@pytest.mark.parametrize(
    "args",
    [
        {"auth": {"api_key": "hidden"}},
        {"auth": {"api_keys": ["hidden"]}},
        {"auth": "hidden"},
        {"hub": {"token": "hidden"}},
        {"webhooks": {"secret": "hidden"}},
        {"jobs": {"database_url": URL}},
    ],
)
def test_a_secret_in_the_config_file_is_refused_without_showing_it(args: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(args, {})

    assert "hidden" not in refused.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_KEY", "app:job:sk-hidden"),
        ("ADMIN_API_KEY", "a:b:sk-hidden"),
        ("WEBHOOK_SECRET", "hidden"),
        ("RAYSCRIBE_DATABASE_URL", "mysql://user:hidden@db/jobs"),
    ],
)
def test_the_doctor_names_a_wrong_secret_and_does_not_show_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    found = [finding for finding in findings(LOCAL, deep=False) if finding.check == "settings"]
    report(found, as_json=True)

    printed = capsys.readouterr()
    assert name in printed.out
    assert "hidden" not in printed.out + printed.err


def test_the_table_of_settings_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)

    assert "hidden" not in as_markdown() + as_text()
