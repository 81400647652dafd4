"""What a trial has to tell, sent in order by a thread of its own, so that training never waits for a service that is away.

A call that finds no service is kept, with all behind it, and sent when the service is back: every call of a worker may be
repeated. Nothing is written to disk: if the worker itself dies, the trial is taken up again from its last checkpoint anyway.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from tuner.errors import Refused, ServiceError, Unreachable

log = structlog.get_logger()
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 5.0


@dataclass(eq=False)
class Entry:
    """One call on its way."""

    call: Callable[[], object]
    kind: str | None = None  # of several waiting ones of a kind only the newest matters
    forget: Callable[[], None] = lambda: None  # called once it was sent, or will never be
    done: bool = False
    awaited: bool = False
    error: ServiceError | None = None


class Outbox:
    """The calls of one trial. `give_up` is set when its process is to end: each call is then tried once more, no longer."""

    def __init__(self, names: Mapping[str, object], give_up: Callable[[], threading.Event]) -> None:
        """`names` stand in each line that is logged."""
        self._log = log.bind(**names)
        self.offline = False  # the newest try found no service
        self._give_up = give_up
        self._waiting: deque[Entry] = deque()
        self._news = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._send_all, name=f"outbox-{names.get('trial', '')}", daemon=True)

    def put(self, entry: Entry) -> Entry:
        """Send it after all that came before."""
        with self._news:
            if self._closed:
                entry.done, entry.error = True, Unreachable("the trial is over; nothing more is sent for it")
                return entry
            dropped = [other for other in self._waiting if entry.kind is not None and other.kind == entry.kind]
            for other in dropped:
                self._waiting.remove(other)
            self._waiting.append(entry)
            if not self._thread.is_alive():
                self._thread.start()
            self._news.notify_all()
        for other in dropped:
            other.forget()
        return entry

    def ask(self, call: Callable[[], object], *, seconds: float) -> bool:
        """Send it, and wait for the answer while the service is there, `seconds` at most; whether one came.

        Raises what the service refused it with.
        """
        entry = self.put(Entry(call, awaited=True))
        with self._news:
            self._news.wait_for(lambda: entry.done or self.offline, timeout=seconds)
            entry.awaited = entry.done
        if entry.error is not None:
            raise entry.error
        return entry.done

    def deliver(self, call: Callable[[], object], *, seconds: float | None = None) -> None:
        """Send it, and wait until it has arrived, with all before it. Raises Refused, or Unreachable after `seconds`."""
        entry = self.put(Entry(call, awaited=True))
        with self._news:
            if not self._news.wait_for(lambda: entry.done, timeout=seconds):
                raise Unreachable(f"no answer from the service in {seconds:g} s")
        if entry.error is not None:
            raise entry.error

    def close(self) -> None:
        """Send nothing more."""
        with self._news:
            self._closed = True
            left = list(self._waiting)
            self._waiting.clear()
            self._news.notify_all()
        for entry in left:
            entry.forget()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def _send_all(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                entry = self._waiting.popleft()
            entry.error = self._send(entry)
            with self._news:
                entry.done, self.offline = True, False
                self._news.notify_all()
            if entry.error is not None and not entry.awaited:
                self._log.warning("something a trial had to tell was not kept", error=str(entry.error))
            entry.forget()

    def _send(self, entry: Entry) -> ServiceError | None:
        pause, since = _FIRST_PAUSE_SECONDS, time.monotonic()
        while not self._closed:
            try:
                entry.call()
                if self.offline:
                    self._log.info("the service is back", seconds=round(time.monotonic() - since, 1), waiting=len(self._waiting))
                return None
            except ServiceError as error:
                if not passes(error) or self._give_up().is_set():
                    return error
                if not self.offline:
                    self._log.warning("no answer from the service; training goes on", error=str(error))
                with self._news:
                    self.offline = True
                    self._news.notify_all()
                self._give_up().wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            except OSError as error:  # a file that can't be read
                return ServiceError(str(error))
        return Unreachable("the trial is over")


def passes(error: ServiceError) -> bool:
    """Whether the same call may work later."""
    return isinstance(error, Unreachable) or (isinstance(error, Refused) and (error.status == 429 or error.status >= 500))
