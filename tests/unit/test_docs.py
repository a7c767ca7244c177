"""The docs name everything that there is to name."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from serve_app.api.application import Services, create_app
from serve_app.api.documents import openapi
from serve_app.api.forms import Fields
from serve_app.api.job_forms import JobForm
from serve_app.api.job_schemas import JobAnswer, ResultQuery
from serve_app.api.problems import CODES, codes
from serve_app.api.schemas import TranscriptionForm, TranslationForm
from serve_app.cli import app
from serve_app.cli.exits import FAILED, INTERRUPTED, NO_SERVICE, WRONG_USAGE
from serve_app.cli.settings_table import as_markdown
from serve_app.media.store import DirectoryMediaStore
from serve_app.settings import Settings
from serve_app.settings.environment import ALIASES, MODEL_PATH
from serve_app.testing import FakeTranscriber
from serve_app.transcript.types import WarningCode
from tools.write_docs import renewed

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def test_settings_page_is_what_the_command_prints() -> None:
    page = (DOCS / "settings.md").read_text()

    assert as_markdown() in page, "run `make docs`"
    assert renewed(page) == page


def test_each_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    declared = {_name(d) for d in [*project["dependencies"], *(d for extra in extras for d in extra)]}
    explained = set(re.findall(r"^\| ([\w-]+) \| ", (DOCS / "dependencies.md").read_text(), re.MULTILINE)) - {"package"}

    assert explained == declared


def _commands(group: typer.Typer, above: str = "rayscribe") -> Iterator[str]:
    for command in group.registered_commands:
        assert command.callback
        yield f"{above} {command.name or command.callback.__name__}"
    for inner in group.registered_groups:
        assert inner.typer_instance
        yield from _commands(inner.typer_instance, f"{above} {inner.name}")


@pytest.mark.parametrize("command", [*_commands(app)])
def test_each_command_is_documented(command: str) -> None:
    assert command in "".join(page.read_text() for page in [*DOCS.glob("*.md"), ROOT / "README.md"])


@pytest.mark.parametrize("code", [FAILED, WRONG_USAGE, NO_SERVICE, INTERRUPTED])
def test_each_exit_code_is_documented(code: int) -> None:
    assert f"\n| {code} |" in (DOCS / "operations.md").read_text()


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda p: p.name)
def test_each_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!http)([^)#]+)", page.read_text())

    assert [t for t in targets if not (page.parent / t).exists()] == []


def test_locks_hold_no_address() -> None:
    for lock in ROOT.glob("requirements*.txt"):
        assert "://" not in lock.read_text()


@pytest.mark.parametrize("variable", sorted({*ALIASES, MODEL_PATH}))
def test_each_variable_of_a_replaced_service_is_in_the_tables_for_those_who_move(variable: str) -> None:
    assert f"`{variable}`" in (DOCS / "migrate.md").read_text()


def _name(requirement: str) -> str:
    found = re.match(r"[\w-]+", requirement)
    assert found
    return found[0]


@pytest.mark.parametrize("code", sorted({*CODES.values(), *codes()}))
def test_each_error_code_is_documented(code: str) -> None:
    assert f"`{code}`" in (DOCS / "http-api.md").read_text()


@pytest.mark.parametrize("warning", WarningCode)
def test_each_warning_is_documented(warning: WarningCode) -> None:
    assert f"`{warning}`" in (DOCS / "http-api.md").read_text()


def test_each_route_is_documented(tmp_path: Path) -> None:
    services = Services(Settings(), FakeTranscriber(), DirectoryMediaStore(tmp_path))
    page = (DOCS / "http-api.md").read_text()

    assert [path for path in openapi(create_app(services))["paths"] if path not in page] == []


@pytest.mark.parametrize("form", [TranscriptionForm, TranslationForm, JobForm, ResultQuery])
def test_each_form_field_is_documented(form: type[Fields]) -> None:
    page = (DOCS / "http-api.md").read_text()

    assert [name for name in form.model_fields if f"`{name}`" not in page and f"`{name}[]`" not in page] == []


def test_each_key_of_a_job_is_documented() -> None:
    page = (DOCS / "http-api.md").read_text()

    assert [name for name in JobAnswer.model_fields if f"`{name}`" not in page and f'"{name}"' not in page] == []


def _threats() -> list[str]:
    rows = re.findall(
        r"^\| (?!threat |---|attack ).*\|$", (DOCS / "security.md").read_text().split("## Measured")[0], re.M
    )
    assert len(rows) > 30
    return rows


@pytest.mark.parametrize("row", _threats(), ids=lambda row: row.split("|")[1].strip()[:40])
def test_each_threat_names_tests_that_exist(row: str) -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", row.split("|")[3])

    assert named
    assert [test for file, test in named if f"def {test}(" not in (ROOT / "tests" / file).read_text()] == []
