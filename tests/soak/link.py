"""The way from workers to one broker, which can be cut, slow, or reset: a proxy in a thread, in front of a listener of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

CHUNK = 16_384
SLOW_BYTES_S = 20_000.0
LATENCY_S = 0.15


class Link:
    """Passes bytes on, as ``mode`` has it: ``open``, ``cut`` (they wait), ``slow``.

    Attributes
    ----------
    held_up
        Pieces that came while it was not open: the proof that somebody noticed.
    """

    def __init__(self, port: int, to_port: int) -> None:
        self._port, self._to_port = port, to_port
        self._mode = "open"
        self._passable = asyncio.Event()
        self._passable.set()
        self.held_up = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"link-{port}", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._ready.wait(10)

    @property
    def mode(self) -> str:
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        self._mode = mode
        self._loop.call_soon_threadsafe(self._passable.clear if mode == "cut" else self._passable.set)

    def reset(self) -> None:
        """Break all connections off."""
        self._loop.call_soon_threadsafe(self._abort)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self._port))
        self._ready.set()
        self._loop.run_forever()
        self._abort()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
            with suppress(asyncio.CancelledError, OSError):
                self._loop.run_until_complete(task)
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, there_writer}
        self._writers |= ends
        both: list[Coroutine[Any, Any, None]] = [
            self._pump(reader, there_writer),
            self._pump(there_reader, writer),
        ]
        try:
            await asyncio.gather(*both)
        finally:
            self._writers -= ends
            for end in ends:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(CHUNK):
                if self.mode != "open":
                    self.held_up += 1
                await self._passable.wait()
                if self.mode == "slow":
                    await asyncio.sleep(LATENCY_S + len(piece) / SLOW_BYTES_S)
                writer.write(piece)
                await writer.drain()
        writer.transport.abort()
