"""Waiting in line without holding a thread: of all who want one thing, one goes on at a time, in the order in which they came."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Turns:
    """Lines by name. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[Callable[[], None]]] = {}
        self._lock = threading.Lock()

    def take(self, name: str, go_on: Callable[[], None]) -> None:
        """Call `go_on` when it is its turn, here and now if nobody is before it. Its turn ends with `end`."""
        with self._lock:
            line = self._lines.setdefault(name, deque())
            line.append(go_on)
            first = len(line) == 1
        if first:
            go_on()

    def end(self, name: str) -> None:
        """Whoever's turn it was, it is the next one's now."""
        with self._lock:
            line = self._lines[name]
            line.popleft()
            following = line[0] if line else None
            if not line:
                del self._lines[name]
        if following is not None:
            following()
