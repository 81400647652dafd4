"""Draws that take long are made beside the writer, in line for each study, and are what the writer would have drawn."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import tuner.ledger
import tuner.search_gp
from studies.configurations import fits
from tests.conftest import Clock
from tests.simulation import start_worker
from tests.tuner.helpers import Bench, make_bench
from tests.tuner.test_ledger import in_thread
from tuner.db import lease_rows
from tuner.db.engine import Connection
from tuner.errors import Conflict, Unavailable
from tuner.lifecycle import Actor
from tuner.service import Service
from tuner.spec import space_of

NUMBERS = {"learning_rate": {"min": "1e-6", "max": 1e-3, "log": True}, "epochs": {"value": 2}, "frozen_layers": {"value": 0}}


class Drawer:
    """In place of the process that draws: at once, or when it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on, self.entered, self.threads, self.requests = threading.Event(), threading.Event(), list[str](), list[str]()
        self.drawn, self.again = list[Mapping[str, Any]](), list[float]()
        self.name = "learning_rate"  # of the parameter that is drawn
        self.ending: Callable[[], object] = lambda: None
        self.go_on.set()
        monkeypatch.setattr(tuner.search_gp._CHILD, "ask", self)

    def __call__(self, request: str) -> Mapping[str, Any]:
        self.requests.append(request)
        self.threads.append(threading.current_thread().name)
        self.entered.set()
        assert self.go_on.wait(60)
        self.ending()
        # A number that tells one request from another; of other parameters the smallest.
        rate = self.again.pop(0) if self.again else 1e-6 + (hash(request) % 10**6) * 9.9e-10
        ranges = json.loads(request)["distributions"]
        self.drawn.append({n: rate if n == self.name else json.loads(r)["attributes"]["low"] for n, r in ranges.items()})
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


def gp_bench(service: Service, clock: Clock, name: str, best: float = 0.5, repeats: int = 1) -> Bench:
    """A study whose next trial is drawn by a Gaussian process."""
    sampler = {"name": "gp", "startup_trials": 2, "repeats": repeats}
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


def test_a_step_that_is_off_by_a_rounding_counts_as_tried(service: Service, clock: Clock, drawer: Drawer) -> None:
    steps = {
        "learning_rate": {"value": 1e-4},
        "weight_decay": {"min": 0.0, "max": 0.3, "step": 0.1},
        "frozen_layers": {"value": 0},
    }
    bench = make_bench(service, clock, sampler={"name": "gp", "startup_trials": 1}, parameters=steps, budget={"trials": 5})
    bench.complete(0.3)
    drawer.name, drawer.again = "weight_decay", [0.30000000000000004, 0.30000000000000004, 0.1]
    drawn = [bench.lease().params["weight_decay"] for _ in range(2)]
    assert drawn == [0.3, 0.1]


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": {"min": 1e-5, "max": 2e-5, "log": True}},
        {"learning_rate": {"value": 1e-4}, "epochs": {"min": 1, "max": 4}},
        {"learning_rate": None, "epochs": {"min": 1, "max": 4}},
        {"epochs": {"min": 1, "max": 4}},
    ],
)
def test_a_draw_from_a_space_that_was_edited_meanwhile_is_not_taken(gp: Bench, drawer: Drawer, change: dict[str, Any]) -> None:
    drawer.again = [9e-4]
    drawer.hold()
    asking, answers = in_thread(gp.lease)
    assert drawer.entered.wait(60)
    gp.service.lifecycle.change_study(gp.study_id, {"parameters": change}, version=None, actor=Actor(), now=gp.clock())
    drawer.go_on.set()
    asking.join(60)
    trial = gp.trial(answers[0].trial)
    assert trial.space_version == gp.study().space_version == 2
    assert fits(space_of(gp.study().spec, gp.study().facts.blocks), trial.params)
    assert all(name.startswith("search-draw") for name in drawer.threads)


def test_an_older_study_that_is_full_makes_nobody_start_over(
    service: Service, clock: Clock, drawer: Drawer, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = make_bench(service, clock, name="older", parallelism=1)
    older.lease()
    clock.forward(1)
    gp, undone = gp_bench(service, clock, "gp"), list[int]()
    monkeypatch.setattr(service.ledger.database, "on_rerun", lambda: undone.append(1))
    assert [gp.lease().study_id for _ in range(3)] == [gp.study_id] * 3
    assert len(drawer.requests) == 3
    assert undone == []


def test_a_lease_lasts_from_when_it_is_granted(gp: Bench, drawer: Drawer, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = [0.0]
    monkeypatch.setattr(tuner.ledger, "monotonic", lambda: waited[0])
    drawer.ending = lambda: waited.__setitem__(0, 61.0)
    began = gp.clock()
    lease = gp.lease()
    with gp.service.ledger.read() as connection:
        attempt = lease_rows.get_lease(connection, lease.id)
    assert attempt is not None
    assert (attempt.granted_at - began).total_seconds() >= 61
    gp.clock.forward(61)
    gp.service.manager.expire(now=gp.clock())
    assert gp.trial(lease.trial).state == "running"


def test_whoever_asks_while_a_draw_is_made_gets_another_one(service: Service, clock: Clock, drawer: Drawer) -> None:
    """Also where a configuration may run twice, and the second call comes before the first one has its trial."""
    bench = gp_bench(service, clock, "twice", repeats=2)
    go_on, stuck = threading.Event(), threading.Event()

    def hold_up(connection: Connection) -> None:
        stuck.set()
        assert go_on.wait(60)

    drawer.hold()
    first, answers = in_thread(bench.lease)
    assert drawer.entered.wait(60)
    writing = threading.Thread(target=lambda: service.ledger.database.write(hold_up))
    writing.start()
    assert stuck.wait(60)
    second, more = in_thread(bench.lease)
    while service.ledger.database._calls.empty():
        pass  # the second call is queued before the first one goes on
    drawer.go_on.set()
    while service.ledger.database._calls.qsize() < 2:
        pass
    go_on.set()
    for thread in (first, second, writing):
        thread.join(60)
    assert {answers[0].trial, more[0].trial} == {2, 3}
    assert answers[0].params["learning_rate"] != more[0].params["learning_rate"]


def test_a_worker_does_not_wait_for_a_study_that_will_be_full(gp: Bench, drawer: Drawer) -> None:
    gp.service.lifecycle.change_study(gp.study_id, {"parallelism": 1}, version=None, actor=Actor(), now=gp.clock())
    gp.clock.forward(1)  # the older study comes first
    other = make_bench(gp.service, gp.clock, name="other")
    drawer.hold()
    asking, answers = in_thread(gp.lease)
    assert drawer.entered.wait(60)
    lease = gp.service.manager.lease(gp.worker_id, now=gp.clock())
    assert lease is not None and lease.study_id == other.study_id
    drawer.go_on.set()
    asking.join(60)
    assert answers[0].study_id == gp.study_id


def test_when_the_service_closes_everybody_in_a_long_line_is_told(gp: Bench, drawer: Drawer) -> None:
    gp.service.lifecycle.change_study(gp.study_id, {"parallelism": 3000}, version=None, actor=Actor(), now=gp.clock())
    gp.service.lifecycle.change_study(gp.study_id, {"budget": {"trials": 3000}}, version=None, actor=Actor(), now=gp.clock())
    drawer.hold()
    leasing = gp.service.manager.leasing(gp.worker_id, now=gp.clock())
    told = [gp.service.ledger.begin(leasing) for _ in range(1500)]
    assert drawer.entered.wait(60)
    gp.service.ledger.database.write(lambda _: None)
    gp.service.ledger.database.close()
    drawer.go_on.set()
    assert {type(call.exception(timeout=60)) for call in told} == {Unavailable}


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
    gp.clock.forward(1)  # the older study comes first
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


def test_what_a_person_leaves_open_is_drawn_beside_the_writer_too(service: Service, clock: Clock, drawer: Drawer) -> None:
    both = NUMBERS | {"weight_decay": {"min": 0.0, "max": 0.3}}
    bench = make_bench(service, clock, sampler={"name": "gp", "startup_trials": 1}, parameters=both, budget={"trials": 4})
    bench.complete(0.3)
    drawer.hold()
    given = {"weight_decay": 0.2}
    adding, added = in_thread(lambda: service.lifecycle.enqueue(bench.study_id, given, actor=Actor(), now=clock()))
    assert drawer.entered.wait(60)
    start_worker(service, clock())  # the writer is free
    drawer.go_on.set()
    adding.join(60)
    [drawn] = drawer.drawn
    assert added[0].params == {**added[0].params, "weight_decay": 0.2, "learning_rate": drawn["learning_rate"]}
    assert {name.partition("_")[0] for name in drawer.threads} == {"search-draw"}
    assert bench.lease().params == added[0].params


def test_nothing_is_drawn_for_a_trial_that_the_budget_does_not_allow(gp: Bench, drawer: Drawer) -> None:
    gp.service.lifecycle.stop(gp.study_id, actor=Actor(), now=gp.clock())
    with pytest.raises(Conflict):
        gp.service.lifecycle.enqueue(gp.study_id, {}, actor=Actor(), now=gp.clock())
    assert drawer.requests == []


def test_nothing_is_drawn_for_a_study_that_is_full(gp: Bench, drawer: Drawer) -> None:
    for _ in range(4):
        gp.lease()
    before = len(drawer.requests)
    assert gp.service.manager.lease(gp.worker_id, now=gp.clock()) is None
    assert len(drawer.requests) == before
