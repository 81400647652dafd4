"""What changed, told to whoever listens: the dashboard's live updates and workers that wait for work.

Only a window of the newest events is kept, in memory: whoever missed more than that is told to read everything again.
"""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["study", "trial", "metric", "worker", "reset"]
_WINDOW = 10_000


@dataclass(frozen=True, kw_only=True)
class Event:
    """One change. `data` names what changed, not its new content: readers fetch that."""

    id: str
    kind: Kind
    data: dict[str, Any]


class EventLog:
    """The newest events, in order; safe to use from every thread."""

    def __init__(self) -> None:
        self._run = secrets.token_hex(4)  # an id from before a restart is recognised by another prefix
        self._last = 0
        self._events: deque[Event] = deque(maxlen=_WINDOW)
        self._listeners: set[Callable[[], None]] = set()
        self._lock = threading.Lock()

    def publish(self, kind: Kind, **data: Any) -> None:
        with self._lock:
            self._last += 1
            self._events.append(Event(id=f"{self._run}-{self._last}", kind=kind, data=data))
            listeners = list(self._listeners)
        for wake in listeners:
            wake()

    def last_id(self) -> str:
        with self._lock:
            return f"{self._run}-{self._last}"

    def since(self, event_id: str) -> list[Event]:
        """All events after `event_id`; a single `reset` if they are not all here any more."""
        run, _, number = event_id.partition("-")
        with self._lock:
            behind = self._last - int(number) if run == self._run and number.isdecimal() else -1
            if 0 <= behind <= len(self._events):
                return list(self._events)[len(self._events) - behind :]
            return [Event(id=f"{self._run}-{self._last}", kind="reset", data={})]

    def listen(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` after each event, from the thread that published it; returns how to end that."""
        with self._lock:
            self._listeners.add(wake)

        def forget() -> None:
            with self._lock:
                self._listeners.discard(wake)

        return forget
