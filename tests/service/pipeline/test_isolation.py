"""A request's media can harm that request, and nothing else."""

import asyncio
import contextlib
import fcntl
import signal
import socket
import sys
import termios
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest

from serve_app.errors import AudioTooLong, InvalidAudio, MediaError, Overloaded
from serve_app.pipeline.decode import DecoderPool
from serve_app.settings.niceness import STEP
from serve_app.transcript.types import Channels
from tests.data.hostile import generate
from tests.recordings import DATA
from tests.service.pipeline.decoding import HOSTILE, Decoded, decode, inline, stored

pytestmark = pytest.mark.server

REHEARSED_PAGES = 800  # of 1,400; one that has only been forked has 300
MANY_BLOCKS = generate.wav(bytes(16_000 * 2 * 50))  # 50 s, more than the pipes hold


def children_at_work(pool: DecoderPool) -> list[psutil.Process]:
    """Those that have let go of the socket on which the others wait."""
    parent = psutil.Process(pool._parent.pid)
    return [child for child in parent.children() if not any(c.fd == 0 for c in child.net_connections("unix"))]


def most_pages_of_who_waits(pool: DecoderPool) -> int:
    """That the kernel had to give to one."""
    found = [0]
    for child in psutil.Process(pool._parent.pid).children():
        with contextlib.suppress(OSError, psutil.Error):  # one that ends while it is looked at
            if any(c.fd == 0 for c in child.net_connections("unix")):
                found.append(int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[7]))
    return max(found)


async def child_at_work(pool: DecoderPool) -> psutil.Process:
    """The only one, once those of earlier requests have ended."""
    found: list[psutil.Process] = []

    def alone() -> bool:
        with contextlib.suppress(psutil.Error):  # one that ends while it is looked at
            found[:] = children_at_work(pool)
        return len(found) == 1

    await until(alone)
    return found[0]


async def until_gone(process: psutil.Process) -> None:
    await asyncio.to_thread(psutil.wait_procs, [process], 60)

    assert not process.is_running()


def queued_bytes(pool: DecoderPool) -> int:
    """Of requests that no child has taken."""
    return int.from_bytes(fcntl.ioctl(pool._parent._socket, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


async def queue_request(pool: DecoderPool) -> asyncio.Task[Decoded]:
    before = queued_bytes(pool)
    request = asyncio.create_task(decode(pool, stored(DATA / "jfk.flac")))
    await until(lambda: queued_bytes(pool) > before)
    return request


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - no event tells what the kernel holds
            await asyncio.sleep(0)


async def read_and(pool: DecoderPool, harm: Callable[[psutil.Process], None]) -> None:
    """Do something to a decoder after its first block, and read on."""
    async with aclosing(pool.decode(inline(MANY_BLOCKS), Channels.MIX)) as blocks:
        await anext(blocks)
        child = await child_at_work(pool)
        harm(child)
        await read_all(blocks)


async def read_all(blocks: AsyncIterator[object]) -> None:
    async for _ in blocks:
        pass


@pytest.mark.parametrize("deadly", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_decoder_that_dies_in_the_middle_fails_its_request_and_no_other(
    decoders: DecoderPool, deadly: signal.Signals
) -> None:
    with pytest.raises(InvalidAudio, match="media library failed"):
        await read_and(decoders, lambda child: child.send_signal(deadly))

    assert (await decode(decoders, stored(DATA / "jfk.flac"))).end.duration_s == 11


async def test_closing_kills_a_decoder_that_hangs(decoders: DecoderPool) -> None:
    async with aclosing(decoders.decode(inline(MANY_BLOCKS), Channels.MIX)) as blocks:
        await anext(blocks)
        child = await child_at_work(decoders)
        assert child.is_running()

    await until_gone(child)


async def test_cancelling_kills_the_decoder(decoders: DecoderPool) -> None:
    started = asyncio.Event()

    async def read_one_block_and_wait() -> None:
        async with aclosing(decoders.decode(inline(MANY_BLOCKS), Channels.MIX)) as blocks:
            await anext(blocks)
            started.set()
            await asyncio.Event().wait()

    reader = asyncio.create_task(read_one_block_and_wait())
    await started.wait()
    child = await child_at_work(decoders)
    reader.cancel()

    await until_gone(child)


async def test_a_decoder_that_stalls_fails_its_request() -> None:
    pool = DecoderPool(size=1)
    hung: list[psutil.Process] = []

    def stall(child: psutil.Process) -> None:
        hung.append(child)
        child.suspend()
        pool._stall_s = 0.5  # only now: a busy machine lets decoders that work be silent as long

    with pytest.raises(InvalidAudio, match="hung"):
        await read_and(pool, stall)
    await pool.close()

    await until_gone(hung[0])


async def test_decoders_yield_to_what_answers_clients() -> None:
    pool = DecoderPool(size=1)
    await decode(pool, stored(DATA / "jfk.flac"))  # the processes are up

    assert psutil.Process(pool._parent.pid).nice() == psutil.Process().nice() + STEP
    await pool.close()


async def test_a_decoder_that_waits_has_its_memory_ready_for_a_request() -> None:
    pool = DecoderPool(size=1)
    await decode(pool, stored(DATA / "jfk.flac"))  # the processes are up

    await until(lambda: most_pages_of_who_waits(pool) > REHEARSED_PAGES)
    await pool.close()


async def test_a_parent_that_died_is_started_again() -> None:
    pool = DecoderPool(size=1)
    await decode(pool, stored(DATA / "jfk.flac"))
    dead = pool._parent.pid
    psutil.Process(dead).kill()
    await asyncio.to_thread(pool._parent._process.wait)

    decoded = await decode(pool, stored(DATA / "jfk.flac"))
    assert decoded.end.duration_s == 11
    assert pool._parent.pid != dead
    await pool.close()


async def test_requests_that_lost_the_same_parent_share_the_next() -> None:
    pool = DecoderPool(size=0)  # nobody takes a request
    first = pool._parent
    requests = [await queue_request(pool), await queue_request(pool)]
    pool._size = 2
    psutil.Process(first.pid).kill()

    assert [decoded.end.duration_s for decoded in await asyncio.gather(*requests)] == [11, 11]

    shared = pool._parent
    assert pool._living_parent(lost=first) is shared  # one that learns of its loss late kills no other's parent
    assert shared.alive
    await pool.close()


async def test_a_request_that_loses_two_parents_is_told_to_try_again() -> None:
    pool = DecoderPool(size=0)
    first = pool._parent
    request = await queue_request(pool)
    psutil.Process(first.pid).kill()
    await until(lambda: pool._parent is not first and queued_bytes(pool) > 0)
    psutil.Process(pool._parent.pid).kill()

    with pytest.raises(Overloaded):
        await request
    await pool.close()


async def test_a_request_that_no_second_parent_takes_in_time_is_told_to_try_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = DecoderPool(size=0)
    request = await queue_request(pool)
    monkeypatch.setattr("serve_app.pipeline.decode.START_S", 0.01)
    psutil.Process(pool._parent.pid).kill()

    with pytest.raises(Overloaded):
        await request
    await pool.close()


async def test_more_requests_than_waiting_processes_are_served_together(decoders: DecoderPool) -> None:
    decoded = await asyncio.gather(*(decode(decoders, stored(DATA / "LJ001-0002.wav")) for _ in range(12)))

    assert len({len(d.samples) for d in decoded}) == 1


async def test_nothing_waits_after_the_pool_is_closed() -> None:
    pool = DecoderPool(size=2)
    await decode(pool, stored(DATA / "LJ001-0002.wav"))
    parent = psutil.Process(pool._parent.pid)
    family = [parent, *parent.children()]
    await pool.close()

    for process in family:
        await until_gone(process)


async def test_a_slow_file_does_not_hold_up_the_event_loop(decoders: DecoderPool) -> None:
    async with aclosing(decoders.decode(inline(MANY_BLOCKS), Channels.MIX)) as blocks:
        await anext(blocks)
        child = await child_at_work(decoders)
        child.suspend()
        reading = asyncio.create_task(read_all(blocks))
        for _ in range(1000):
            await asyncio.sleep(0)  # who waited for the file here would wait for ever
        was_read = reading.done()
        child.resume()
        await reading

    assert not was_read


async def test_what_a_file_costs_the_event_loop_comes_in_small_pieces(decoders: DecoderPool) -> None:
    longest, before = 0.0, time.thread_time()
    reading = asyncio.create_task(decode(decoders, inline(MANY_BLOCKS)))
    while not reading.done():
        await asyncio.sleep(0)
        longest, before = max(longest, time.thread_time() - before), time.thread_time()

    assert longest < 0.25  # one turn moves 64 KiB; what the machine does meanwhile is not counted


async def test_a_bomb_costs_bounded_memory() -> None:
    pool = DecoderPool(size=1, max_audio_s=590.0)
    bomb = bytearray((HOSTILE / "bomb_10min_silence.flac").read_bytes())
    bomb[21] &= 0xF0  # the header does not say how long it is
    bomb[22:26] = bytes(4)
    sizes: list[int] = []

    async def watch() -> None:
        async with aclosing(pool.decode(inline(bytes(bomb)), Channels.MIX)) as blocks:
            async for _ in blocks:
                with contextlib.suppress(psutil.NoSuchProcess):  # it has ended, and what it wrote is still in the pipe
                    sizes.extend(child.memory_info().rss for child in children_at_work(pool))

    with pytest.raises(AudioTooLong):
        await watch()
    await pool.close()

    assert 0 < max(sizes) < 150 * 2**20


@pytest.mark.parametrize(
    "script",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{target}'\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet mimeType='
        '"audio/mp4"><Representation id="1"><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>',
        "[playlist]\nFile1={target}\nNumberOfEntries=1\n",
    ],
)
async def test_scripts_open_neither_files_nor_connections(decoders: DecoderPool, tmp_path: Path, script: str) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes((DATA / "LJ001-0002.wav").read_bytes())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        for target in (f"http://127.0.0.1:{port}/secret.wav", f"file://{secret}", str(secret)):
            with pytest.raises(MediaError):
                await decode(decoders, inline(script.format(target=target).encode()))

        with pytest.raises(BlockingIOError):  # nobody called
            listener.accept()


async def test_a_session_description_opens_no_socket(decoders: DecoderPool) -> None:
    before = time.perf_counter()
    with pytest.raises(InvalidAudio):
        await decode(decoders, stored(HOSTILE / "session.wav"))

    assert time.perf_counter() - before < 9  # FFmpeg would wait for packets for ten
