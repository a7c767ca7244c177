"""The service's side of `decoder_process`: starts it, and connects each request to one of its children."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import suppress

from serve_app.pipeline.records import HEADER, Kind
from serve_app.settings.niceness import STEP

READ_AHEAD_BYTES = 128 * 1024


class ConnectionLost(Exception):
    """The decoder process is gone."""


class DecoderConnection:
    """
    One decoder process at work for one request.

    It writes records on a pipe, whose capacity holds it back when nobody reads, and dies when the leash closes.
    """

    def __init__(self, reader: asyncio.StreamReader, transport: asyncio.ReadTransport, leash: int) -> None:
        self._reader = reader
        self._transport = transport
        self._leash = leash

    @classmethod
    async def open(cls, output: int, leash: int) -> DecoderConnection:
        """Takes the reading end of the output and the writing end of the leash."""
        reader = asyncio.StreamReader(limit=READ_AHEAD_BYTES)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(output, "rb", buffering=0)
        )
        return cls(reader, transport, leash)

    async def read(self, timeout_s: float) -> tuple[Kind, bytes]:
        """
        The next record.

        Raises:
            ConnectionLost: The process died before it wrote a whole one.
            TimeoutError: It wrote nothing for that long.
        """
        try:
            async with asyncio.timeout(timeout_s):
                kind, size = HEADER.unpack(await self._reader.readexactly(HEADER.size))
                return Kind(kind), await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise ConnectionLost from error

    def close(self) -> None:
        """Kill the process, wherever it is in its work."""
        self._transport.close()
        os.close(self._leash)


class DecoderParent:
    """The process that forks decoder processes, and the socket that hands them requests."""

    def __init__(self, spares: int) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        with theirs:
            self._process = subprocess.Popen(_command(spares), stdin=theirs.fileno())

    @property
    def alive(self) -> bool:
        return self._socket.fileno() >= 0 and self._process.poll() is None

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    async def connect(self, media: int, message: bytes, timeout_s: float) -> DecoderConnection:
        """
        Hand a request to a decoder process.

        Raises:
            ConnectionLost: No process took it.
        """
        output, their_output = os.pipe()
        their_leash, leash = os.pipe()
        decoder = await DecoderConnection.open(output, leash)
        try:
            self._send(message, media, their_output, their_leash)
            await decoder.read(timeout_s)  # TAKEN
        except BaseException:
            decoder.close()
            raise
        return decoder

    def _send(self, message: bytes, media: int, output: int, leash: int) -> None:
        try:
            socket.send_fds(self._socket, [message], [media, output, leash])
        except OSError as error:
            raise ConnectionLost from error
        finally:
            os.close(output)
            os.close(leash)

    def close(self) -> None:
        self._socket.close()
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()


def _command(spares: int) -> list[str]:
    """
    Nice, as all that computes.

    One thread only: to fork a process with more (OpenBLAS starts one for each core) can deadlock the child.
    """
    settings = ["OPENBLAS_NUM_THREADS=1", "OMP_NUM_THREADS=1", f"PYTHONPATH={os.pathsep.join(filter(None, sys.path))}"]
    nice = ["nice", "-n", str(STEP)]
    return ["env", *settings, *nice, sys.executable, "-m", "serve_app.pipeline.decoder_process", str(spares)]
