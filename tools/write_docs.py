"""Renew what the docs hold of the code: the table of settings. `make docs` runs this."""

from __future__ import annotations

import re
from pathlib import Path

from serve_app.cli.settings_table import as_markdown

PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"
TABLE = re.compile(r"(^\|.*\n)+", re.MULTILINE)


def renewed(page: str) -> str:
    """The page with its first table as the code has it now."""
    return TABLE.sub(lambda _: f"{as_markdown()}\n", page, count=1)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
