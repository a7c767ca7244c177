"""Small bodies, in whatever way a client sends their fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request

from serve_app.api.forms import MAX_FIELDS, Form, pairs_of, parse, read_multipart
from serve_app.errors import InvalidRequest

MAX_BYTES = 64 * 1024


async def read_fields(schema: type[Form], request: Request) -> Form:
    """
    The fields of the query, and of a body that is a form, JSON, or absent.

    JSON is told by how it begins, because `curl -d '{…}'` calls it a form.

    Raises:
        InvalidRequest: A field is wrong, or the body is neither.
    """
    in_body = await _multipart(request) if _is_multipart(request) else _pairs(await _read(request))
    return parse(schema, [*request.query_params.multi_items(), *in_body])


def _is_multipart(request: Request) -> bool:
    return request.headers.get("content-type", "").startswith("multipart/form-data")


async def _multipart(request: Request) -> list[tuple[str, str]]:
    form = await read_multipart(request)
    await form.close()
    return pairs_of(form)


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > MAX_BYTES:
            raise InvalidRequest(f"The body may have {MAX_BYTES} bytes here.")
    return bytes(body)


def _pairs(body: bytes) -> list[tuple[str, str]]:
    if body.lstrip()[:1] in (b"{", b"["):
        return [(name, as_field(value)) for name, value in json_object(body).items() if value is not None]
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise InvalidRequest("The body should be a JSON object or a form.") from None


def json_object(body: bytes | bytearray) -> Mapping[str, Any]:
    """
    Raises:
        InvalidRequest: It is something else.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidRequest("The body is not JSON.") from None
    if not isinstance(fields, dict):
        raise InvalidRequest("The body should be a JSON object.")
    return fields


def as_field(value: Any) -> str:
    """A value of JSON as a form would send it."""
    return value if isinstance(value, str) else json.dumps(value)
