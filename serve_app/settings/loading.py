"""From a config file's `args` and the environment to the one valid tree."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from serve_app.errors import ConfigError
from serve_app.settings.environment import environment, model_path, overrides
from serve_app.settings.paths import settings_paths
from serve_app.settings.tree import TINY_EN, Settings
from serve_app.settings.well_known import entries

# What pydantic says in words of Python, by type of the error.
IN_YAML = {
    "model_type": "must be a mapping of names to values",
    "dict_type": "must be a mapping of names to values",
    "tuple_type": "must be a list",
}


def load_settings(args: Mapping[str, Any], env: Mapping[str, str] | None = None) -> Settings:
    """
    Merge a config file's `args` with the environment and validate the whole.

    Raises:
        ConfigError: A value is wrong, a name unknown, or two names of one setting differ; says which and how to mend it.
    """
    tree = _copy(args)
    overriding = overrides(environment(env))
    for path, (_, value) in overriding.items():
        _put(tree, path.split("."), value)
    if (directory := model_path(environment(env))) is not None:
        _put_default_model(tree, directory)
    _put_well_known(tree)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        variables = {path: name for path, (name, _) in overriding.items()}
        mistakes = (_sentence(e["loc"], e["type"], e["msg"], variables) for e in error.errors())
        raise ConfigError("; ".join(mistakes)) from error


def _sentence(location: tuple[int | str, ...], kind: str, said: str, variables: Mapping[str, str]) -> str:
    path = ".".join(map(str, location))
    if kind == "extra_forbidden":
        return _unknown(path)
    message = IN_YAML.get(kind, said)
    where = f"{variables[path]} ({path})" if path in variables else path
    return f"{where}: {message}" if path else message.removeprefix("Value error, ")


def _unknown(path: str) -> str:
    if path in settings_paths():  # as one key, with points in it
        section, _, name = path.rpartition(".")
        return f"{path} must be nested: write `{name}` below `{section}:`"
    sections = {known.rpartition(".")[0] for known in settings_paths()} - {""}
    near = difflib.get_close_matches(path, [*settings_paths(), *sections], n=1)
    return f"{path} is not a setting" + (f"; the nearest is {near[0]}" if near else "")


def _copy(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Deep, and without the sections that a file leaves empty."""
    return {k: _copy(v) if isinstance(v, Mapping) else v for k, v in tree.items() if v is not None}


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def _put_well_known(tree: dict[str, Any]) -> None:
    """Whoever names a model that everyone knows need not say where it is."""
    models, preload = tree.get("models", {"tiny.en": TINY_EN.model_dump()}), tree.get("preload") or ()
    named = [tree.get("default_model"), *(preload if isinstance(preload, (list, tuple)) else ())]
    aliases = tree.get("aliases")
    # What is no mapping, validation refuses.
    taken = [*models, *(aliases if isinstance(aliases, Mapping) else ())] if isinstance(models, dict) else named
    if found := entries(name for name in named if name not in taken):
        tree["models"] = {**models, **found}


def _put_default_model(tree: dict[str, Any], directory: Path) -> None:
    """The default model has its weights in a directory; if it has no name, the directory gives it one."""
    models = tree.setdefault("models", {"tiny.en": TINY_EN.model_dump()})
    model_id = tree.setdefault("default_model", directory.name)
    if isinstance(models, dict) and isinstance(model_id, str):  # if not, validation says so
        models[model_id] = {**(models.get(model_id) or {}), "source": str(directory), "revision": None}
