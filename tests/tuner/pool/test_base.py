from __future__ import annotations

import threading

from tuner.errors import Unreachable
from tuner.pool.base import keep


class Scripted:
    """A pool that does what it is told, and remembers."""

    def __init__(self, stop_after: int, faults: list[list[str]] | None = None) -> None:
        self.started: list[int] = []
        self.workers = 0
        self.stopping = threading.Event()
        self._rounds, self._faults = stop_after, faults or []

    def start(self, count: int) -> None:
        self.started.append(count)
        self.workers += count

    def alive(self) -> int:
        return self.workers

    def faults(self) -> list[str]:
        self._rounds -= 1
        if self._rounds <= 0:
            self.stopping.set()
        return self._faults.pop(0) if self._faults else []

    def stop(self) -> None:
        raise AssertionError("that is for who began it")


def test_as_many_are_kept_alive_as_are_wanted() -> None:
    pool = Scripted(stop_after=4)
    demand = iter([0, 3, 3, 5])
    keep(pool, lambda: next(demand), pool.stopping, every=0.001)
    assert pool.started == [3, 2]


def test_fewer_are_wanted_than_there_are_and_none_is_ended() -> None:
    pool = Scripted(stop_after=2)
    pool.workers = 4
    keep(pool, lambda: 1, pool.stopping, every=0.001)
    assert (pool.started, pool.workers) == ([], 4)


def test_after_a_bad_end_the_next_start_waits_longer_each_time() -> None:
    pool = Scripted(stop_after=5, faults=[["died"], ["died"], ["died"], []])
    pauses: list[float] = []
    wait = pool.stopping.wait
    pool.stopping.wait = lambda timeout=None: pauses.append(timeout or 0.0) or wait(0)  # type: ignore[method-assign,func-returns-value]
    keep(pool, lambda: 1, pool.stopping, every=1.0)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 1.0]
    assert pool.started == [1]


def test_a_service_that_is_away_changes_nothing() -> None:
    pool = Scripted(stop_after=3)

    def away() -> int:
        raise Unreachable("nobody there")

    keep(pool, away, pool.stopping, every=0.001)
    assert pool.started == []
