"""The page on parity answers each feature of the replaced systems, by files and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from serve_app.cli.config_file import read_config
from serve_app.settings import Settings, load_settings
from serve_app.settings.paths import settings_paths

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/parity.md").read_text()
FEATURES = {"A": 37, "B": 76}  # how many each system has on the checklist
WITHOUT_TEST = ["A32"]  # how code is contributed there
PLACES = (ROOT, ROOT / "serve_app")


def rows() -> list[list[str]]:
    """Ids, feature, where, test."""
    return [
        [cell.strip() for cell in row.split(" | ")] for row in re.findall(r"^\| ([AB]\d.*) \|$", PAGE, re.MULTILINE)
    ]


def ids_of(cell: str) -> list[str]:
    """`B40, B42` is two, `B68–B71` four."""
    found = []
    for letter, first, last in re.findall(r"([AB])(\d+)(?:–[AB](\d+))?", cell):
        found += [f"{letter}{n}" for n in range(int(first), int(last or first) + 1)]
    return found


def test_each_feature_is_answered_once() -> None:
    answered = [name for ids, *_ in rows() for name in ids_of(ids)]

    assert sorted(answered) == sorted(f"{letter}{n}" for letter, last in FEATURES.items() for n in range(1, last + 1))


def test_features_come_in_order() -> None:
    first = [ids_of(ids)[0] for ids, *_ in rows()]

    assert first == sorted(first, key=lambda name: (name[0], int(name[1:])))


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_answer_says_where_and_shows_it(row: list[str]) -> None:
    ids, feature, where, test = row

    assert feature
    assert where
    assert bool(re.search(r"\.py::test_", test)) == (ids not in WITHOUT_TEST)


def test_named_tests_exist() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)

    assert named
    assert [test for file, test in named if f"def {test}(" not in (ROOT / "tests" / file).read_text()] == []


def test_named_files_exist() -> None:
    named = re.findall(r"`([\w./-]+(?:\.py|\.yaml|/[\w-]*))`", " ".join(where for _, _, where, _ in rows()))
    of_each_overlay = "serve.yaml"

    assert [n for n in named if n != of_each_overlay and not any((place / n).exists() for place in PLACES)] == []


def test_named_settings_exist() -> None:
    sections = {path.split(".")[0] for path in settings_paths() if "." in path}
    named = [f"{section}.{name}" for section, name in re.findall(r"`(\w+)\.(\w+)`", PAGE) if section in sections]

    assert named
    assert [name for name in named if name not in settings_paths()] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("http.port", 8000),
        ("log_level", "INFO"),
        ("lifecycle.unload_after_s", 300),
        ("lifecycle.gpu_poll_interval_s", 30),
        ("decoding.beam_size", 5),
        ("decoding.temperatures", (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
    ],
)
def test_default_is_what_the_replaced_system_had(path: str, value: object) -> None:
    found: object = Settings()
    for name in path.split("."):
        found = getattr(found, name)

    assert found == value


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_config_listens_where_the_replaced_system_did(config: Path) -> None:
    assert read_config(config).http_options["port"] == 8000


def test_default_model_has_the_name_that_it_had_there() -> None:
    assert load_settings({}, {"WHISPER_MODEL": "large-v3"}).default_model == "large-v3"
