"""Where workers come from: one interface, and the loop that keeps as many alive as there is work for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import structlog

from tuner.errors import ServiceError

log = structlog.get_logger()
_EVERY_SECONDS = 2.0
_MOST_SECONDS_BETWEEN_TRIES = 60.0


class Pool(Protocol):
    """Workers on some machines. They end by themselves when they have been idle for long enough, which is no fault."""

    def start(self, count: int) -> None:
        """Start so many more. Where they are placed, and when, is the pool's business."""

    def alive(self) -> int:
        """How many there are, those included that wait for a place."""

    def faults(self) -> list[str]:
        """How workers ended that should not have, each told once."""

    def stop(self) -> None:
        """End all in order, so that they give their trials back, and by force those that don't end."""


def keep(pool: Pool, wanted: Callable[[], int], stopping: threading.Event, *, every: float = _EVERY_SECONDS) -> None:
    """Have `wanted()` workers alive until `stopping` is set. One that ends badly is replaced, the more often the later."""
    pause = every
    while not stopping.is_set():
        faults = pool.faults()
        for fault in faults:
            log.error("a worker ended", reason=fault, next_try_in_seconds=pause)
        try:
            missing = wanted() - pool.alive()
        except ServiceError as error:
            log.warning("not known how many workers are wanted", error=str(error))
            missing = 0
        if missing > 0 and not faults:
            log.info("starting workers", count=missing)
            pool.start(missing)
        stopping.wait(pause)
        # A worker that ends at once would otherwise be started for ever, at the price of all else on its machine.
        pause = min(2 * pause, _MOST_SECONDS_BETWEEN_TRIES) if faults else every
