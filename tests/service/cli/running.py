"""The command as a user calls it, in this process, and a service that is a real server with stand-ins behind it."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from serve_app.cli import main


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[Any]:
        """What it printed with `--json`."""
        return [json.loads(line) for line in self.out.splitlines()]


def rayscribe(*arguments: object) -> Ended:
    """Run the command to its end."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    argv = ["rayscribe", *map(str, arguments)]
    with patch("sys.argv", argv), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as exit:
            code = int(exit.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())
