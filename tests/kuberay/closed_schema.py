"""What the API server says with `fieldValidation=Strict`: a CRD's schema in which nothing is allowed that it does not name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
ANY = "x-kubernetes-preserve-unknown-fields"
EITHER = "x-kubernetes-int-or-string"


def violations(value: Any, schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """One sentence for each place where the value is not what the schema allows."""
    if value is None and schema.get("nullable"):
        return
    if not _has_type(value, schema):
        yield f"{path} must be {'int or string' if schema.get(EITHER) else schema['type']}, not {value!r}"
        return
    yield from _scalar(value, schema, path)
    if isinstance(value, dict):
        yield from _object(value, schema, path)
    elif isinstance(value, list):
        for n, item in enumerate(value):
            yield from violations(item, schema.get("items", {}), f"{path}[{n}]")


def _has_type(value: Any, schema: Mapping[str, Any]) -> bool:
    if schema.get(EITHER):
        return isinstance(value, (int, str)) and not isinstance(value, bool)
    name = schema.get("type")
    if name is None:
        return True
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def _scalar(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path} must be one of {', '.join(map(str, schema['enum']))}, not {value!r}"
    if isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{path} must match {schema['pattern']}, not {value!r}"
        if len(value) < schema.get("minLength", 0) or len(value) > schema.get("maxLength", len(value)):
            yield f"{path} has {len(value)} characters"
    if isinstance(value, (int, float)) and value < schema.get("minimum", value):
        yield f"{path} must be at least {schema['minimum']}, not {value}"


def _object(value: Mapping[str, Any], schema: Mapping[str, Any], path: str) -> Iterator[str]:
    known, others = schema.get("properties", {}), schema.get("additionalProperties")
    open_to_all = schema.get(ANY) or (not known and others is None)
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}.{name} is missing"
    for name, inner in value.items():
        below = f"{path}.{name}".lstrip(".")
        if name in known:
            yield from violations(inner, known[name], below)
        elif isinstance(others, Mapping):
            yield from violations(inner, others, below)
        elif not open_to_all:
            yield f"{below} is not a field"
