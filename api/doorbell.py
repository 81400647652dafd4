"""What other threads have to tell coroutines: whatever comes before the loop gets round to it comes at one wake.

`loop.call_soon_threadsafe` wakes the loop for each call by a byte through a socket, and each time the thread that
calls may have to wait for the interpreter: a writer that answers sixteen calls after one commit would do so sixteen times.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


class Doorbell:
    """Of the loop that it was made on."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: deque[Callable[[], None]] = deque()
        self._rung = False

    def call(self, what: Callable[[], None]) -> None:
        """Have `what` called on the loop, in the order of these calls; from any thread."""
        self._calls.append(what)  # before the look at `_rung`: whoever answers an earlier ring finds it
        if not self._rung and not self._loop.is_closed():
            self._rung = True
            self._loop.call_soon_threadsafe(self._answer)

    async def result(self, future: Future[Result]) -> Result:
        """What the future of another thread returns or raises."""
        waiter: asyncio.Future[Result] = self._loop.create_future()
        future.add_done_callback(lambda done: self.call(lambda: _settle(waiter, done)))
        return await waiter

    def _answer(self) -> None:
        self._rung = False
        while self._calls:
            self._calls.popleft()()


def _settle(waiter: asyncio.Future[Result], done: Future[Result]) -> None:
    if waiter.done():  # whoever waited has gone
        return
    problem = done.exception()
    if problem is None:
        waiter.set_result(done.result())
    else:
        waiter.set_exception(problem)
