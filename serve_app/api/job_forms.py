"""How a job is submitted: as a form with a file, or as a form or JSON that says where the audio is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from fastapi import Request
from pydantic import AfterValidator, Field, model_validator
from starlette.datastructures import UploadFile

from serve_app.api.bodies import as_field, json_object
from serve_app.api.forms import LISTS, files_of, pairs_of, parse, read_multipart
from serve_app.api.schemas import HintedForm
from serve_app.errors import InvalidRequest
from serve_app.jobs.job import Priority
from serve_app.settings import Settings
from serve_app.transcript.types import Task, TranscriptionOptions

AUDIO = ("audio", "file")
SOURCES = ("url", "upload_id")
MAX_JSON_BYTES = 256 * 1024
MAX_KEY_CHARACTERS = 255
MAX_URL_CHARACTERS = 2048
NO_TEXT = re.compile(r"[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]")
IDEMPOTENCY_KEY = "Idempotency-Key"


def _web_address(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
        raise ValueError("should be a URL that begins with https:// or http://")
    return url


class JobForm(HintedForm):
    """`POST /jobs`"""

    refused: ClassVar[Mapping[str, str]] = {
        "stream": "follow the job at `/jobs/{id}/stream`",
        "response_format": "a job keeps all there is; choose when you read it, with `/jobs/{id}?format=srt`",
        "max_line_width": "send it when you read the job, with `/jobs/{id}?format=srt&max_line_width=42`",
        "max_line_count": "send it when you read the job, with `/jobs/{id}?format=srt&max_line_count=2`",
    }

    model: str = ""
    """A model id or alias from `/v1/models`; the default model if absent."""
    task: Task = Task.TRANSCRIBE
    """`translate` gives English."""
    url: Annotated[str, Field(max_length=MAX_URL_CHARACTERS)] | None = None
    """Where the audio is, instead of a file."""
    upload_id: Annotated[str, Field(max_length=MAX_KEY_CHARACTERS)] | None = None
    """A finished resumable upload, instead of a file."""
    webhook_url: Annotated[str, Field(max_length=MAX_URL_CHARACTERS), AfterValidator(_web_address)] | None = None
    """Receives the job when it has ended."""
    timestamp_granularities: tuple[Literal["word", "segment"], ...] = ()
    """`word` lists the words of each segment in the job; segments have their times in any case."""
    priority: Priority = Priority.INTERACTIVE
    """`batch` lets others go first."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.url and self.upload_id:
            raise InvalidRequest("Send `url` or `upload_id`, not both.", param="upload_id")
        return self

    def options(self, settings: Settings, model_id: str) -> TranscriptionOptions:
        """Words are always aligned: it is from them that segments get their edges."""
        return self._options(settings, model_id, task=self.task, word_times=True, logprobs="logprobs" in self.include)

    def fingerprint(self, audio_sha256: str = "") -> str:
        """What makes two submits the same: the fields and, of a file that came with them, the bytes."""
        fields = json.dumps([dict(self), audio_sha256], sort_keys=True, default=dict)
        return hashlib.sha256(fields.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Submission:
    """A request for a job, before anything was looked up."""

    form: JobForm
    idempotency_key: str | None
    file: UploadFile | None = None  # if neither `url` nor `upload_id` is given


async def read_submission(request: Request, stack: contextlib.AsyncExitStack) -> Submission:
    """
    Read a form or JSON; a file is spooled to disk as it comes, and closed with the stack.

    Raises:
        InvalidRequest: A field is wrong, or there is not one source of audio.
    """
    key = _idempotency_key(request)
    if _is_json(request):
        form = parse(JobForm, _storable(list(_pairs(await _read_json(request)))))
        return Submission(_with_source(form, []), key)
    body = await read_multipart(request)
    stack.push_async_callback(body.close)
    files = files_of(body, *AUDIO)
    form = _with_source(parse(JobForm, _storable(pairs_of(body, *AUDIO))), files)
    return Submission(form, key, files[0] if files else None)


def _with_source(form: JobForm, files: list[UploadFile]) -> JobForm:
    elsewhere = form.url or form.upload_id
    if len(files) > 1 or (files and elsewhere):
        raise InvalidRequest("Send one file, or `url`, or `upload_id`.", param=AUDIO[0])
    if not files and not elsewhere:
        raise InvalidRequest(
            "There is no audio. Send a file as the field `audio` of a multipart/form-data body, or `url`, or `upload_id`.",
            param=AUDIO[0],
        )
    return form


def _is_json(request: Request) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "application/json"


async def _read_json(request: Request) -> Mapping[str, Any]:
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > MAX_JSON_BYTES:
            raise InvalidRequest(f"A JSON body may have {MAX_JSON_BYTES} bytes. Send audio as multipart/form-data.")
    return json_object(body)


def _pairs(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """JSON as the fields of a form, which from here on is one path for both."""
    for name, value in fields.items():
        if name in LISTS and isinstance(value, list):
            yield from ((f"{name}[]", as_field(item)) for item in value)
        elif value is not None:
            yield name, as_field(value)


def _storable(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """
    The same fields, fit to be kept.

    Raises:
        InvalidRequest: One holds control characters, or half a surrogate pair; a NUL, for one, no database keeps.
    """
    for name, value in pairs:
        if NO_TEXT.search(value):
            raise InvalidRequest(f"{name[:40]} holds characters that are no text.", param=name[:40])
    return pairs


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get(IDEMPOTENCY_KEY, "").strip()
    if len(key) > MAX_KEY_CHARACTERS:
        raise InvalidRequest(f"{IDEMPOTENCY_KEY} may have {MAX_KEY_CHARACTERS} characters.", param=IDEMPOTENCY_KEY)
    if NO_TEXT.search(key):
        raise InvalidRequest(f"{IDEMPOTENCY_KEY} holds characters that are no text.", param=IDEMPOTENCY_KEY)
    return key or None
