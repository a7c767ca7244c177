"""`/v1/audio/…`: parse, authorise, run the transcriber, render what comes."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from serve_app.api import documents
from serve_app.api.auth import needs
from serve_app.api.catalogue import check_can_do
from serve_app.api.cold_start import check_is_there
from serve_app.api.events import text_events
from serve_app.api.forms import parse, read_form
from serve_app.api.places import StackDep
from serve_app.api.rates import counted
from serve_app.api.schemas import AudioForm, TranscriptionForm, TranslationForm
from serve_app.api.services import Services, ServicesDep
from serve_app.api.streams import EventStream, Relay, unless_gone
from serve_app.api.uploads import media_of
from serve_app.settings import Scope
from serve_app.transcript.collect import collect
from serve_app.transcript.protocols import MediaReference
from serve_app.transcript.render import MEDIA_TYPES, Format, no_diarizer, render
from serve_app.transcript.types import TranscriptionOptions

router = APIRouter(
    prefix="/v1/audio", tags=["audio"], dependencies=[Depends(needs(Scope.TRANSCRIBE)), Depends(counted)]
)


@dataclass(frozen=True, slots=True)
class Order:
    """A request that has passed every check that needs no work."""

    form: AudioForm
    options: TranscriptionOptions
    media: MediaReference


@router.post("/transcriptions", **documents.TRANSCRIPTIONS)
async def transcriptions(request: Request, stack: StackDep, services: ServicesDep) -> Response:
    """Transcribe audio in the language spoken."""
    order = await _received(TranscriptionForm, request, stack, services)
    if isinstance(order.form, TranscriptionForm) and order.form.stream:
        return await _streamed(request, stack, services, order)
    return await _whole(request, services, order)


@router.post("/translations", **documents.TRANSLATIONS)
async def translations(request: Request, stack: StackDep, services: ServicesDep) -> Response:
    """Transcribe audio of any language into English."""
    return await _whole(request, services, await _received(TranslationForm, request, stack, services))


async def _received(
    schema: type[AudioForm], request: Request, stack: contextlib.AsyncExitStack, services: Services
) -> Order:
    file, pairs = await read_form(request)
    stack.push_async_callback(file.close)
    form = parse(schema, pairs)
    model_id = services.catalogue.find(form.model)
    check_can_do(services.catalogue, model_id, form)
    await check_is_there(services, model_id)
    media = await stack.enter_async_context(media_of(file, services))
    options = form.options(services.settings, model_id)
    return Order(form, replace(options, needs_channels=form.response_format is Format.DIARIZED_JSON), media)


async def _whole(request: Request, services: Services, order: Order) -> Response:
    events = services.transcriber.run(order.media, order.options)
    transcript = await unless_gone(request.receive, collect(events, order.options))
    wanted = order.form.response_format
    if wanted is Format.DIARIZED_JSON and transcript.channels < 2:
        raise no_diarizer()
    headers = {"x-audio-seconds": f"{transcript.duration_s:.3f}"}  # which neither text nor subtitles would tell
    return Response(render(transcript, wanted, order.form.layout), headers=headers, media_type=MEDIA_TYPES[wanted])


async def _streamed(
    request: Request, stack: contextlib.AsyncExitStack, services: Services, order: Order
) -> EventStream:
    events = await stack.enter_async_context(Relay(services.transcriber.run(order.media, order.options)))
    first = await unless_gone(request.receive, events.take())  # what fails before it is an HTTP error
    blocks = text_events(first, events.take, order.options, request.scope["request_id"])
    return EventStream(blocks, heartbeat_s=services.heartbeat_s)
