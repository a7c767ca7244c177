"""
From a multipart body to a tree of plain values.

Clients spell the same field in several ways: `include[]=logprobs` and `include=logprobs`, `chunking_strategy[type]=server_vad`
and `chunking_strategy={"type": "server_vad"}`. All become one tree here, so that the schemas know one spelling.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable, Mapping
from typing import Any, ClassVar, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError, model_validator
from starlette.datastructures import FormData, UploadFile

from serve_app.errors import InvalidRequest

FILE = "file"
UNSUPPORTED = re.compile(r"known_speaker_\w+")
LISTS = frozenset({"timestamp_granularities", "include", "keywords", "languages"})
MAX_FILES = 8
MAX_FIELDS = 500

_NAME = re.compile(r"(?P<field>[^\[\]]+)(?P<keys>(\[[^\[\]]*\])*)")

Pairs = Iterable[tuple[str, str]]


class Fields(BaseModel):
    """What a form may hold."""

    refused: ClassVar[Mapping[str, str]] = {}
    """Fields that OpenAI has, and this form has not: what to do instead."""

    @model_validator(mode="before")
    @classmethod
    def _one_value_each(cls, tree: dict[str, Any]) -> dict[str, Any]:
        return {name: value if name in LISTS else _single(name, value) for name, value in tree.items()}


Form = TypeVar("Form", bound=Fields)


async def read_form(request: Request) -> tuple[UploadFile, list[tuple[str, str]]]:
    """
    The `file` and all other fields of a request, in the order they came.

    The file is spooled to disk as it comes; whoever calls closes it.

    Raises:
        InvalidRequest: There is not one file, or the body's encoding is not what it says.
    """
    form = await read_multipart(request)
    files = files_of(form, FILE)
    if len(files) != 1:
        await form.close()
        raise InvalidRequest(_why_no_file(request, len(files)), param=FILE)
    return files[0], pairs_of(form, FILE)


async def read_multipart(request: Request) -> FormData:
    """
    A form, its files spooled to disk; whoever calls closes it.

    Raises:
        InvalidRequest: The body's encoding is not what it says.
    """
    try:
        return await request.form(max_files=MAX_FILES, max_fields=MAX_FIELDS)
    except ValueError as error:  # a charset that Python knows, but that is none for text
        raise InvalidRequest("The body cannot be decoded with the charset it names.") from error


def files_of(form: FormData, *names: str) -> list[UploadFile]:
    return [value for name, value in form.multi_items() if isinstance(value, UploadFile) and name in names]


def pairs_of(form: FormData, *files: str) -> list[tuple[str, str]]:
    """All fields but these, in the order they came."""
    fields = [(name, value) for name, value in form.multi_items() if name not in files]
    return [(name, value if isinstance(value, str) else "") for name, value in fields]


def tree_of(pairs: Pairs, known: Container[str], refused: Mapping[str, str] = Fields.refused) -> dict[str, Any]:
    """
    The known fields as a tree: `x[]` and repeated names become lists, `x[key]` a mapping, everything else a string.

    An empty value is an absent one, because that is what an empty form field means.

    Raises:
        InvalidRequest: A field is one that OpenAI has and this service has not, or its spellings contradict each other.
    """
    tree: dict[str, Any] = {}
    for name, value in pairs:
        match = _NAME.fullmatch(name)
        if match is None:
            continue  # a name that no field has
        field, keys = match["field"], re.findall(r"\[([^\[\]]*)\]", match["keys"])
        _refuse_unsupported(field)
        _refuse(field, value, refused)
        if value and field in known:
            _put(tree, field, keys, value)
    return tree


def parse(schema: type[Form], pairs: Pairs) -> Form:
    """
    Validate fields against a schema; fields that it neither has nor refuses are ignored.

    Raises:
        InvalidRequest: Names the first field that is wrong.
    """
    try:
        return schema.model_validate(tree_of(pairs, schema.model_fields, schema.refused))
    except ValidationError as error:
        raise _invalid(error) from error


def json_value(value: Any) -> Any:
    """A string that holds JSON is what it holds; everything else is left as it is."""
    if not isinstance(value, str) or value[:1] not in ("{", "[", '"'):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _put(tree: dict[str, Any], field: str, keys: list[str], value: str) -> None:
    if not keys or keys[0] == "" or keys[0].isdigit():
        tree.setdefault(field, [])
        if not isinstance(tree[field], list):
            raise InvalidRequest(f"{field} is given both as a value and by parts.", param=field)
        tree[field].append(value)
        return
    tree.setdefault(field, {})
    if not isinstance(tree[field], dict):
        raise InvalidRequest(f"{field} is given both as a value and by parts.", param=field)
    tree[field]["][".join(keys)] = value


def _single(name: str, value: Any) -> Any:
    if not isinstance(value, list):
        return value
    if len(set(value)) > 1 and name == "temperature":
        return value
    if len(set(value)) > 1:
        raise InvalidRequest(f"{name} is given more than once, with different values.", param=name)
    return value[0]


def _refuse_unsupported(field: str) -> None:
    if UNSUPPORTED.fullmatch(field):
        raise InvalidRequest(
            f"{field} is not supported: this service does not recognise speakers."
            " For one speaker a channel, send `channels=separate`.",
            param=field,
        )


def _refuse(field: str, value: str, refused: Mapping[str, str]) -> None:
    if field in refused and value.lower() not in ("", "false"):  # `stream=false` asks for what happens anyway
        raise InvalidRequest(f"{field} is not supported here: {refused[field]}.", param=field)


def _invalid(error: ValidationError) -> InvalidRequest:
    first = error.errors(include_url=False, include_context=False)[0]
    path = [str(part) for part in first["loc"]]
    if first["type"] == "missing":
        return InvalidRequest(f"Missing required field: {'.'.join(path)}.", param=path[0])
    param = path[0] if path else None
    where = f"{'.'.join(path)}: " if path else ""
    return InvalidRequest(f"{where}{first['msg'].removeprefix('Value error, ')}.", param=param)


def _why_no_file(request: Request, found: int) -> str:
    if found > 1:
        return "Send one file in a request."
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return "Send the audio as the field `file` of a multipart/form-data body."
    return "Missing required field: file. It is a multipart part with a file name."
