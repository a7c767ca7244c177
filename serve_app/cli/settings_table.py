"""`rayscribe settings`: the settings, as text and as the table of docs/settings.md."""

from __future__ import annotations

import json

from serve_app.settings import ALIASES, SettingInfo, settings_paths


def as_text() -> str:
    return "\n\n".join(
        f"{i.path}  [{_default(i)}]\n  {i.variable}\n  {i.description}" for i in settings_paths().values()
    )


def as_markdown() -> str:
    rows = [f"| `{i.path}` | `{_default(i)}` | {_described(i)} |" for i in settings_paths().values()]
    return "\n".join(["| setting | default | what it is |", "|---|---|---|", *rows])


def _described(info: SettingInfo) -> str:
    others = ", ".join(f"`{name}`" for name, path in ALIASES.items() if path == info.path)
    return info.description.replace("|", "\\|") + (f" Also {others}." if others else "")


def _default(info: SettingInfo) -> str:
    return json.dumps(info.default)
