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
        self._here = threading.local()

    def length(self, name: str) -> int:
        """How many are in line, the one included whose turn it is."""
        with self._lock:
            return len(self._lines.get(name, ()))

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
            following = list(line)[:1]
            if not line:
                del self._lines[name]
        # One whose turn ends at once, as all do when the service closes, comes back here: a loop, or a long line goes too deep.
        due: list[Callable[[], None]] | None = getattr(self._here, "due", None)
        if due is not None:
            due.extend(following)
            return
        self._here.due = due = following
        try:
            while due:
                due.pop()()
        finally:
            self._here.due = None
