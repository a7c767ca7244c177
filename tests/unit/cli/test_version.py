"""Which version is here, asked in either way."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from serve_app import __version__
from serve_app.cli import app


@pytest.mark.parametrize("argument", ["version", "--version"])
def test_version_is_all_that_is_printed(argument: str) -> None:
    ended = CliRunner().invoke(app, [argument])

    assert (ended.exit_code, ended.output) == (0, f"{__version__}\n")
