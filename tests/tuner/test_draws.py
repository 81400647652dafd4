"""Draws that take long are made beside the writer, in line for each study, and are what the writer would have drawn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import tuner.search_gp
from tests.conftest import Clock
from tests.simulation import start_worker
from tests.tuner.helpers import Bench, make_bench
from tests.tuner.test_ledger import in_thread
from tuner.lifecycle import Actor
from tuner.service import Service

NUMBERS = {"learning_rate": {"min": "1e-6", "max": 1e-3, "log": True}, "epochs": {"value": 2}, "frozen_layers": {"value": 0}}


class Drawer:
    """In place of the process that draws: at once, or when it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on, self.entered, self.threads, self.requests = threading.Event(), threading.Event(), list[str](), list[str]()
        self.drawn, self.again = list[Mapping[str, Any]](), list[float]()
        self.ending: Callable[[], object] = lambda: None
        self.go_on.set()
        monkeypatch.setattr(tuner.search_gp._CHILD, "ask", self)
        monkeypatch.setattr(tuner.search_gp, "_MADE", tuner.search_gp._Made())

    def __call__(self, request: str) -> Mapping[str, Any]:
        self.requests.append(request)
        self.threads.append(threading.current_thread().name)
        self.entered.set()
        assert self.go_on.wait(60)
        self.ending()
        # A number that tells one request from another.
        rate = self.again.pop(0) if self.again else 1e-6 + (hash(request) % 10**6) * 9.9e-10
        self.drawn.append({"learning_rate": rate})
        return self.drawn[-1]

    def hold(self) -> None:
        self.go_on.clear()
        self.entered.clear()


@pytest.fixture
def drawer(monkeypatch: pytest.MonkeyPatch) -> Drawer:
    return Drawer(monkeypatch)


@pytest.fixture
def gp(service: Service, clock: Clock, drawer: Drawer) -> Bench:
    return gp_bench(service, clock, "gp")


def gp_bench(service: Service, clock: Clock, name: str, best: float = 0.5) -> Bench:
    """A study whose next trial is drawn by a Gaussian process."""
    sampler = {"name": "gp", "startup_trials": 2}
    bench = make_bench(service, clock, name=name, sampler=sampler, parameters=NUMBERS, parallelism=4, budget={"trials": 30})
    for value in (0.3, best):
        lease = service.manager.lease(bench.worker_id, studies=[bench.study_id], now=clock())
        assert lease is not None
        bench.finish(lease, value)
    return bench


def test_other_studies_go_on_while_a_draw_is_made(gp: Bench, drawer: Drawer) -> None:
    drawer.hold()
    asking, answers = in_thread(lambda: gp.service.manager.lease(gp.worker_id, studies=[gp.study_id], now=gp.clock()))
    assert drawer.entered.wait(60)
    other = make_bench(gp.service, gp.clock, name="other")
    lease = other.service.manager.lease(other.worker_id, studies=[other.study_id], now=gp.clock())
    assert lease is not None and not answers
    other.report(lease, 1, 0.5)
    drawer.go_on.set()
    asking.join(60)
    assert answers[0].trial == 2
    assert {name.partition("_")[0] for name in drawer.threads} == {"search-draw"}


def test_workers_that_ask_together_get_a_draw_each_in_line(gp: Bench, drawer: Drawer, monkeypatch: pytest.MonkeyPatch) -> None:
    undone: list[str] = []
    monkeypatch.setattr(gp.service.ledger.database, "on_rerun", lambda: undone.append("a transaction"))
    workers = [start_worker(gp.service, gp.clock()) for _ in range(4)]
    before = dict(gp.service.ledger.searches)
    drawer.hold()
    asking = [
        in_thread(lambda w=worker: gp.service.manager.lease(w, studies=[gp.study_id], now=gp.clock())) for worker in workers
    ]
    assert drawer.entered.wait(60)
    drawer.go_on.set()
    for thread, _ in asking:
        thread.join(60)
    leases = [answers[0] for _, answers in asking]
    assert sorted(lease.trial for lease in leases) == [2, 3, 4, 5]
    assert len({lease.params["learning_rate"] for lease in leases}) == 4, "each knows of the one before"
    assert len(drawer.requests) == len(set(drawer.requests)) == 4
    assert undone == []
    assert gp.service.ledger.searches == before, "no search is thrown away for it"


def test_a_draw_knows_what_had_ended_when_it_began_and_the_next_one_the_rest(gp: Bench, drawer: Drawer) -> None:
    running = [gp.lease() for _ in range(2)]
    before = len(drawer.requests)
    drawer.ending = lambda: gp.finish(running.pop(), 0.9)
    assert [gp.lease().trial, gp.lease().trial] == [4, 5]
    first, second = drawer.requests[before:]
    assert '"values": [0.9]' not in first and '"values": [0.9]' in second
    assert [gp.trial(n).params["learning_rate"] for n in (4, 5)] == [drawn["learning_rate"] for drawn in drawer.drawn[-2:]]
    assert all(name.startswith("search-draw") for name in drawer.threads)


def test_a_draw_that_was_tried_before_is_not_taken(gp: Bench, drawer: Drawer) -> None:
    first = float(str(gp.lease().params["learning_rate"]))
    drawer.again = [first, first, 5e-4]
    assert gp.lease().params["learning_rate"] == 5e-4
    assert drawer.again == []
    assert all(name.startswith("search-draw") for name in drawer.threads)


def test_a_drawer_that_fails_is_told_to_who_asked_and_the_next_one_has_its_turn(
    gp: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(request: str) -> Any:
        raise ZeroDivisionError("no draw")

    with monkeypatch.context() as patch:
        patch.setattr(tuner.search_gp._CHILD, "ask", broken)
        with pytest.raises(ZeroDivisionError):
            gp.lease()
    assert gp.lease().trial == 2


def test_a_draw_for_one_study_is_not_taken_for_another(gp: Bench, drawer: Drawer) -> None:
    other = gp_bench(gp.service, gp.clock, "another", best=0.6)
    before = len(drawer.drawn)
    drawer.hold()
    asking, answers = in_thread(gp.lease)
    assert drawer.entered.wait(60)
    gp.service.lifecycle.pause(gp.study_id, actor=Actor(), now=gp.clock())
    drawer.go_on.set()
    asking.join(60)
    assert (answers[0].study_id, answers[0].trial) == (other.study_id, 2)
    first, second = drawer.drawn[before:]
    assert answers[0].params["learning_rate"] == second["learning_rate"] != first["learning_rate"]
    gp.service.lifecycle.resume(gp.study_id, actor=Actor(), now=gp.clock())
    assert gp.service.manager.lease(gp.worker_id, studies=[gp.study_id], now=gp.clock()) is not None


def test_who_gives_every_parameter_waits_for_no_draw(gp: Bench, drawer: Drawer) -> None:
    gp.service.lifecycle.enqueue(gp.study_id, {"learning_rate": 1e-4}, actor=Actor(), now=gp.clock())
    assert drawer.requests == []
    assert gp.lease().params["learning_rate"] == 1e-4


def test_nothing_is_drawn_for_a_study_that_is_full(gp: Bench, drawer: Drawer) -> None:
    for _ in range(4):
        gp.lease()
    before = len(drawer.requests)
    assert gp.service.manager.lease(gp.worker_id, now=gp.clock()) is None
    assert len(drawer.requests) == before
