"""Waiting for the service's events without holding a thread: long polls and server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from api.doorbell import Doorbell
from tuner.events import Event, EventLog


class Feed:
    """The event log for coroutines of the loop it was made on. After `close` nothing waits any more."""

    def __init__(self, events: EventLog) -> None:
        self.events = events
        self.closed = False
        self.bell = Doorbell()
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()
        self._waking = False
        self._forget = events.listen(self._ring)

    async def after(self, event_id: str, *, seconds: float | None) -> Sequence[Event]:
        """All events after `event_id` as soon as there are any; none once `seconds` have passed or the feed is closed."""
        deadline = None if seconds is None else self._loop.time() + seconds
        while not self.closed:
            # Taken before looking, so that an event that comes while we look is not missed.
            rung = self._rung
            news = self.events.since(event_id)
            if news:
                return news
            try:
                async with asyncio.timeout_at(deadline):
                    await rung.wait()
            except TimeoutError:
                break
        return []

    def close(self) -> None:
        """End all waiting now; on the loop only."""
        self._forget()
        self.closed = True
        self._wake()

    def _ring(self) -> None:
        if not self._waking:
            self._waking = True
            self.bell.call(self._wake)

    def _wake(self) -> None:
        self._waking = False
        self._rung.set()
        self._rung = asyncio.Event()
