"""A bad network: an HTTP proxy that, by a seeded draw for each call, delays it, loses it or its reply, or sends it again.

`cut` makes it deaf in one direction for a while: `requests` are swallowed, or they are executed and `replies` are swallowed.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal

# How often each strikes, in a thousand calls.
RATES = {"late": 40, "dropped": 15, "reset": 15, "reply lost": 30, "twice": 30, "again later": 30}
_MOST_SECONDS_LATE = 0.3
_MOST_SECONDS_AGAIN = 3.0
_NOBODY = (OSError, asyncio.IncompleteReadError)


class FaultProxy:
    """Listens on a port of its own and passes calls on to `target`, which may be changed while it runs."""

    def __init__(self, target: int, seed: int) -> None:
        self.target = target
        self.cut: Literal["requests", "replies"] | None = None
        self.struck: Counter[str] = Counter()
        self._rng = random.Random(f"proxy {seed}")
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    def _run(self) -> None:
        self._ended = asyncio.Event()
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._accept, sock=self._listening)
        await self._ended.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._spawn(self._one_call(reader, writer))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _one_call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection carries one call: what a client keeps alive would hide losses from it."""
        try:
            call = await _read_call(reader)
            fault = self._draw()
            if fault == "late":
                await asyncio.sleep(self._rng.uniform(0, _MOST_SECONDS_LATE))
            if fault == "reset":
                _reset(writer)
            if fault in ("dropped", "reset") or self.cut == "requests":
                return
            if fault == "again later":
                self._spawn(self._later(call))
            reply = await self._pass_on(call)
            if fault == "twice":
                await self._pass_on(call)
            if fault != "reply lost" and self.cut != "replies":
                writer.write(reply)
                await writer.drain()
        except _NOBODY:
            pass
        finally:
            writer.close()

    def _draw(self) -> str | None:
        drawn = self._rng.randrange(1000)
        for name, often in RATES.items():
            if drawn < often:
                self.struck[name] += 1
                return name
            drawn -= often
        return None

    async def _later(self, call: bytes) -> None:
        await asyncio.sleep(self._rng.uniform(0, _MOST_SECONDS_AGAIN))
        with suppress(*_NOBODY):
            await self._pass_on(call)

    async def _pass_on(self, call: bytes) -> bytes:
        """Send a call to the service and read its whole answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            writer.write(re.sub(rb"(?im)^host:[^\r]*", b"Host: 127.0.0.1:%d" % self.target, call, count=1))
            await writer.drain()
            reply = await reader.read(-1)
            if not reply:
                raise ConnectionResetError
            return reply
        finally:
            writer.close()


async def _read_call(reader: asyncio.StreamReader) -> bytes:
    """A whole request, its body by Content-Length or in chunks, asking the service to close the connection afterwards."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(re.findall(rb"(?m)^([\w-]+):[ \t]*([^\r]*)", head.lower()))
    head = re.sub(rb"(?im)^connection:[^\r]*\r\n", b"", head)[:-2] + b"Connection: close\r\n\r\n"
    if b"chunked" not in fields.get(b"transfer-encoding", b""):
        return head + await reader.readexactly(int(fields.get(b"content-length", b"0")))
    body = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line, 16)
        body += line + await reader.readexactly(size + 2)
        if size == 0:
            return head + body


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of a farewell."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
