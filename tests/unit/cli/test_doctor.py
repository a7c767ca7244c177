"""`rayscribe doctor` as a command: what it prints, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import ctranslate2
import pytest
import typer

from serve_app.cli.doctor import findings, report, run_doctor
from serve_app.cli.doctor_findings import Finding, Level, fine
from serve_app.settings import Settings
from serve_app.testing.gpu import GIB, FakeGpu

LOCAL = Path(__file__).resolve().parents[3] / "configs" / "local.yaml"
PROBLEM = Finding("port", Level.PROBLEM, "8000 is taken", "Choose another.")


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))


def test_a_problem_is_shown_with_its_fix(capsys: pytest.CaptureFixture[str]) -> None:
    assert not report([fine("ray", "2.60.0"), PROBLEM], as_json=False)
    assert capsys.readouterr().out == (
        "ok       ray: 2.60.0\nproblem  port: 8000 is taken\n         → Choose another.\n\n1 problem(s), 0 warning(s)\n"
    )


def test_a_warning_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert report([Finding("gpu", Level.WARNING, "busy", "Wait.")], as_json=False)
    assert capsys.readouterr().out.endswith("0 problem(s), 1 warning(s)\n")


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert not report([fine("ray", "2.60.0"), PROBLEM], as_json=True)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"check": "ray", "level": "ok", "said": "2.60.0", "fix": ""},
        {"check": "port", "level": "problem", "said": "8000 is taken", "fix": "Choose another."},
    ]


def test_a_problem_is_exit_code_1() -> None:
    with pytest.raises(typer.Exit) as ended:
        run_doctor(Path("none.yaml"), deep=False, as_json=True)

    assert ended.value.exit_code == 1


@pytest.mark.parametrize(
    ("variable", "value", "fix"),
    [
        ("RAYSCRIBE_OFLINE", "1", "RAYSCRIBE_OFLINE is not a setting"),
        ("HOST", "0.0.0.0", "there is no API key"),
        ("RAYSCRIBE_DATABASE_URL", "mysql://x", "holds no URL of a PostgreSQL database"),
        ("WEBHOOK_SECRET", "short", "WEBHOOK_SECRET"),
    ],
)
def test_settings_that_serve_refuses_are_a_problem_and_end_the_checks_that_need_them(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, fix: str
) -> None:
    monkeypatch.setenv(variable, value)

    *before, last = findings(LOCAL, deep=False)

    assert [finding.check for finding in before] == ["python", "ray"]
    assert (last.check, last.level) == ("settings", Level.PROBLEM)
    assert fix in last.fix


def test_a_config_that_is_not_there_is_named() -> None:
    *_, last = findings(Path("none.yaml"), deep=False)

    assert last.fix == "none.yaml: No such file or directory"


@pytest.mark.parametrize(
    ("others_gib", "level", "is_tried"), [(1.0, Level.OK, True), (7.5, Level.WARNING, False)], ids=["room", "busy"]
)
def test_a_busy_gpu_is_told_and_the_self_test_does_not_wait_for_it(
    monkeypatch: pytest.MonkeyPatch, others_gib: float, level: Level, is_tried: bool
) -> None:
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda _: {"float16", "int8_float16", "float32"})
    gpu = FakeGpu(others_bytes=round(others_gib * GIB))
    monkeypatch.setattr("serve_app.cli.doctor.open_gpu", lambda _: gpu)
    tried: list[Settings] = []
    monkeypatch.setattr("serve_app.cli.doctor.check_decode", lambda settings: tried.append(settings) or ())

    found = {finding.check: finding for finding in findings(LOCAL, deep=False)}

    assert found["gpu"].level is level
    assert bool(tried) == is_tried
