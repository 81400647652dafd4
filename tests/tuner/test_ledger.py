"""A long study's search is rebuilt off the writer's thread, while other studies go on."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import tuner.ledger
from tests.conftest import Clock
from tests.tuner.helpers import Bench, make_bench
from tuner.db.engine import Connection
from tuner.records import Study
from tuner.search import Search
from tuner.service import Service


@pytest.fixture
def long(service: Service, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A study that counts as long from its second trial on; nothing is in memory, as after a restart."""
    monkeypatch.setattr(tuner.ledger, "REBUILT_AT_ONCE", 1)
    bench = make_bench(service, clock, name="long", parallelism=4)
    for value in (0.3, 0.5, 0.4):
        bench.complete(value)
    service.ledger.searches.clear()
    return bench


class SlowRebuild:
    """Holds up every rebuild of one study until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, study_id: str) -> None:
        self.go_on, self.entered, self.threads = threading.Event(), threading.Event(), set[str]()
        real = tuner.ledger.rebuilt

        def rebuilt(connection: Connection, study: Study) -> Search:
            if study.id == study_id:
                self.threads.add(threading.current_thread().name)
                search = real(connection, study)
                self.entered.set()
                assert self.go_on.wait(60)
                return search
            return real(connection, study)

        monkeypatch.setattr(tuner.ledger, "rebuilt", rebuilt)


def in_thread(call: Any) -> tuple[threading.Thread, list[Any]]:
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(call()))
    thread.start()
    return thread, answers


def test_other_studies_go_on_while_a_search_is_rebuilt(long: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowRebuild(monkeypatch, long.study_id)
    asking, answers = in_thread(lambda: long.service.manager.lease(long.worker_id, studies=[long.study_id], now=long.clock()))
    assert slow.entered.wait(60)
    other = make_bench(long.service, long.clock, name="other")
    lease = other.service.manager.lease(other.worker_id, studies=[other.study_id], now=long.clock())
    assert lease is not None and not answers
    other.report(lease, 1, 0.5)
    slow.go_on.set()
    asking.join(60)
    assert answers[0].trial == 3
    assert all(name.startswith("search-rebuild") for name in slow.threads)


def test_what_ends_while_a_search_is_rebuilt_is_not_missed(long: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    running = long.lease()
    long.service.ledger.searches.clear()
    slow = SlowRebuild(monkeypatch, long.study_id)
    asking, answers = in_thread(long.lease)
    assert slow.entered.wait(60)
    # An ending needs no search, and is committed between what the rebuild has read and what it hands over.
    long.service.ledger.change(lambda change: change.tell_search(long.trial(running.trial)))
    slow.go_on.set()
    asking.join(60)
    assert answers[0].trial == running.trial + 1
    assert len(slow.threads) == 1
    assert long.study_id in long.service.ledger.searches


def test_a_call_that_is_undone_forgets_only_its_own_study(long: Bench, clock: Clock) -> None:
    other = make_bench(long.service, clock, name="other")
    other.lease()
    kept = long.service.ledger.searches[other.study_id]

    def fail(change: tuner.ledger.Change) -> None:
        change.search(long.study())
        change.connection.exec_driver_sql("DELETE FROM metrics")
        raise LookupError("no")

    with pytest.raises(LookupError):
        long.service.ledger.change(fail)
    assert long.service.ledger.searches == {other.study_id: kept}


def test_a_rebuild_that_fails_fails_the_call_that_needs_it(long: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(connection: Connection, study: Study) -> Search:
        raise ValueError("broken rows")

    monkeypatch.setattr(tuner.ledger, "rebuilt", broken)
    with pytest.raises(ValueError, match="broken rows"):
        long.lease()
