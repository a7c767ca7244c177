"""
The processes that decode media: one request each, so that a file that crashes FFmpeg harms nothing else.

A single-threaded parent (`python -m serve_app.pipeline.decoder_process SPARES`) imports PyAV once and keeps forked
children waiting on one socket, its standard input. A request is one message there: a `DecodingRequest` and three
descriptors, which are the media, the pipe to write records on, and a leash. The kernel hands each message to one child.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import io
import json
import os
import pkgutil
import resource
import select
import signal
import socket
import sys
import wave
from pathlib import Path
from typing import BinaryIO, NoReturn

import av
import av.logging

from serve_app.errors import InvalidAudio, MediaError
from serve_app.pipeline import records
from serve_app.pipeline.records import DecodingRequest, Kind
from serve_app.pipeline.soundtrack import audio_decoders
from serve_app.pipeline.transcode import transcode

MEMORY_BYTES = 512 * 1024 * 1024  # that a child may map beyond what the parent has mapped
CPU_S = 30
AUDIO_S_PER_CPU_S = 40  # the slowest codecs decode ten times as much
REQUEST_BYTES = 4096
REST_MS = 50  # without a request, before a child rehearses


def main(requests: socket.socket, spares: int) -> None:
    """Keep `spares` children waiting until the other end of the socket closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the service ends its decoders itself
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the children
    av.logging.set_level(None)
    _import_all_of_av()
    decoders = audio_decoders()
    gc.freeze()  # a collection in a child would copy every page it marks
    poll = select.poll()
    poll.register(requests, 0)  # tells of its end only
    waiting: set[int] = set()
    while True:
        while len(waiting) < spares:
            child = _fork(requests, decoders)
            waiting.add(child)
            poll.register(child, 0)
        for descriptor, _ in poll.poll():
            if descriptor == requests.fileno():
                return
            waiting.remove(descriptor)
            poll.unregister(descriptor)
            os.close(descriptor)


def _import_all_of_av() -> None:
    """PyAV imports some of its modules when a file first needs them; a confined child can open no module."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name != "av.__main__":
            importlib.import_module(module.name)


def _fork(requests: socket.socket, decoders: str) -> int:
    """A descriptor that hangs up when the new child has taken a request, or died."""
    spare, busy = os.pipe()
    if os.fork() == 0:
        os.close(spare)
        _live(requests, busy, decoders)
    os.close(busy)
    return spare


def _live(requests: socket.socket, busy: int, decoders: str) -> NoReturn:
    try:
        if not _is_asked(requests, REST_MS):
            with contextlib.suppress(Exception):  # a request shall find out what is wrong, and tell
                _rehearse(decoders)
        message, descriptors, _, _ = socket.recv_fds(requests, REQUEST_BYTES, 3)
        if message:
            requests.close()
            os.close(busy)
            _serve(DecodingRequest.decode(message), descriptors, decoders)
    except BrokenPipeError:
        pass  # nobody wants the rest
    finally:
        os._exit(0)  # what FFmpeg holds is the kernel's to free


def _is_asked(requests: socket.socket, within_ms: int) -> bool:
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    return bool(poll.poll(within_ms))


def _rehearse(decoders: str) -> None:
    """
    Decode a little silence: the kernel copies what a child writes to when it first does, and now nobody waits for that.

    It takes 4 ms, half of which a request is spared; so a child rehearses only while there is nothing else to do.
    """
    silence = io.BytesIO()
    with wave.open(silence, "wb") as file:
        file.setparams((2, 2, 44_100, 0, "NONE", ""))
        file.writeframes(bytes(4 * 44_100 // 5))
    media = os.memfd_create("silence")
    os.write(media, silence.getvalue())
    transcode(media, decoders, DecodingRequest(separate_channels=False, max_audio_s=1.0), io.BytesIO())
    os.close(media)


def _serve(request: DecodingRequest, descriptors: list[int], decoders: str) -> None:
    media, output, leash = descriptors
    _die_with(leash)
    _confine(request.max_audio_s)
    with os.fdopen(output, "wb") as pipe:
        records.write(pipe, Kind.TAKEN)
        try:
            transcode(media, decoders, request, pipe)
        except MediaError as error:
            _write_error(pipe, error)
        except BrokenPipeError:
            raise
        except Exception as error:  # whatever a file can make PyAV raise is about the file
            _write_error(pipe, InvalidAudio(f"The audio cannot be decoded ({type(error).__name__})."))


def _write_error(pipe: BinaryIO, error: MediaError) -> None:
    records.write(pipe, Kind.ERROR, json.dumps([type(error).__name__, error.message, error.param]).encode())


def _die_with(leash: int) -> None:
    """Have the kernel kill this process when the other end of the pipe closes, even if FFmpeg never returns."""
    fcntl.fcntl(leash, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(leash, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(leash, fcntl.F_SETFL, fcntl.fcntl(leash, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(leash, 0)
    if poll.poll(0):  # it was closed before
        os._exit(0)


def _confine(max_audio_s: float) -> None:
    """Bound memory and time, and make it impossible to open another file or socket."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    cpu_s = int(CPU_S + max_audio_s / AUDIO_S_PER_CPU_S)
    for limit, value in (
        (resource.RLIMIT_AS, mapped + MEMORY_BYTES),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 0),  # what is open stays open
    ):
        resource.setrlimit(limit, (value, value))


if __name__ == "__main__":
    main(socket.socket(fileno=sys.stdin.fileno()), int(sys.argv[1]))
