from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from tests.conftest import Clock
from tests.simulation import point, start_worker
from tests.tuner.helpers import LEASE_SECONDS, Bench, all_rows, completed, make_bench, plain_study
from tuner.db import lease_rows
from tuner.errors import NotFound, StaleLease
from tuner.granting import Lease
from tuner.lifecycle import Actor
from tuner.manager import Ending
from tuner.service import Service
from tuner.workforce import add_worker


def running_in(service: Service, study_id: str) -> int:
    return sum(held == study_id for trials in open_leases(service).values() for held, _ in trials)


def open_leases(service: Service) -> dict[str, list[tuple[str, int]]]:
    with service.ledger.read() as connection:
        return lease_rows.open_leases(connection)


# ---- leasing


def test_many_workers_at_once_never_exceed_budget_or_parallelism(service: Service, clock: Clock) -> None:
    study = plain_study(service, clock(), budget={"trials": 40}, parallelism=5)
    numbers: list[int] = []
    most_running: list[int] = []

    def work(_: int) -> None:
        worker_id = start_worker(service, clock())
        idle = 0
        while idle < 5:
            lease = service.manager.lease(worker_id, now=clock())
            if lease is None:
                idle += 1
                continue
            numbers.append(lease.trial)
            most_running.append(running_in(service, study.id))
            service.manager.report(lease.id, [point(1, 0.5)], now=clock())
            service.manager.finish(lease.id, completed(0.5), now=clock())

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    # Whoever gave up early left work: one more goes on to the end.
    work(0)
    assert sorted(numbers) == list(range(40))
    assert max(most_running) <= 5


def test_leasing_at_the_same_time_stops_at_the_parallelism(service: Service, clock: Clock) -> None:
    study = plain_study(service, clock(), budget={"trials": 40}, parallelism=5)
    workers = [start_worker(service, clock()) for _ in range(16)]
    with ThreadPoolExecutor(16) as pool:
        leases = list(pool.map(lambda worker_id: service.manager.lease(worker_id, now=clock()), workers))
    granted = sorted(lease.trial for lease in leases if lease is not None)
    assert granted == [0, 1, 2, 3, 4]
    assert running_in(service, study.id) == 5


def test_trials_that_wait_again_respect_the_parallelism_too(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, parallelism=3)
    leases = [bench.lease() for _ in range(3)]
    bench.service.manager.finish(leases[0].id, Ending(state="released"), now=clock())
    bench.service.manager.finish(leases[1].id, Ending(state="released"), now=clock())
    assert {bench.lease().trial, bench.lease().trial} == {0, 1}
    assert bench.service.manager.lease(bench.worker_id, now=clock()) is None


def test_an_enqueued_trial_waits_for_a_free_place(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, parallelism=1)
    running = bench.lease()
    service.lifecycle.enqueue(bench.study_id, {}, actor=Actor(), now=clock())
    assert service.manager.lease(bench.worker_id, now=clock()) is None
    bench.finish(running, 0.5)
    assert bench.lease().trial == 1


def test_a_lease_says_all_that_a_worker_needs(bench: Bench) -> None:
    lease = bench.lease()
    assert (lease.study_id, lease.trial, lease.attempt, lease.expires_in) == (bench.study_id, 0, 1, LEASE_SECONDS)
    assert lease.params == bench.trial(0).params
    assert lease.spec == bench.study().spec
    assert bench.trial(0).lease_id == lease.id


def test_trials_of_one_study_have_seeds_of_their_own_that_an_attempt_keeps(bench: Bench) -> None:
    first, second = bench.lease(), bench.lease()
    bench.service.manager.finish(first.id, Ending(state="released"), now=bench.clock())
    again = bench.lease()
    assert again.trial == first.trial and again.seed == first.seed != second.seed


def test_an_unknown_worker_is_told_to_register(service: Service, clock: Clock) -> None:
    with pytest.raises(NotFound, match="register"):
        service.manager.lease("nobody", now=clock())


def test_a_worker_may_ask_for_certain_studies_only(bench: Bench) -> None:
    other = plain_study(bench.service, bench.clock.forward(1), name="other")
    lease = bench.service.manager.lease(bench.worker_id, studies=[other.id], now=bench.clock())
    assert lease is not None and lease.study_id == other.id
    assert bench.service.manager.lease(bench.worker_id, studies=[], now=bench.clock()) is None


GPU_CASES = [("auto", 0, True), (0, 0, True), (1, 0, False), (2, 1, False), (2, 2, True)]


@pytest.mark.parametrize(("wanted", "gpus", "fits"), GPU_CASES)
def test_a_trial_goes_to_a_worker_with_enough_gpus(service: Service, clock: Clock, wanted: object, gpus: int, fits: bool) -> None:
    plain_study(service, clock(), resources={"gpus": wanted})
    worker = add_worker(service.ledger, host="n1", pid=1, gpus=[{"name": "g", "memory": 1}] * gpus, versions={}, now=clock())
    assert (service.manager.lease(worker.id, now=clock()) is not None) is fits


# ---- fencing


def stale_lease(bench: Bench) -> Lease:
    """A lease that ran out, whose trial another attempt holds."""
    lease = bench.lease()
    bench.report(lease, 1, 0.4)
    bench.service.manager.expire(now=bench.clock.forward(LEASE_SECONDS + 1))
    assert bench.lease().trial == lease.trial
    return lease


KILLED = Ending(state="failed", failure=("lost", "killed"))
LATE_CALLS: dict[str, Callable[[Service, str, datetime], object]] = {
    "heartbeat": lambda service, lease, now: service.manager.heartbeat(lease, now=now),
    "report": lambda service, lease, now: service.manager.report(lease, [point(2, 0.9)], now=now),
    "repeated report": lambda service, lease, now: service.manager.report(lease, [point(1, 0.4)], now=now),
    "completed": lambda service, lease, now: service.manager.finish(lease, completed(0.9), now=now),
    "failed": lambda service, lease, now: service.manager.finish(lease, KILLED, now=now),
    "released": lambda service, lease, now: service.manager.finish(lease, Ending(state="released"), now=now),
    "log": lambda service, lease, now: service.manager.log(lease, ["late"], now=now),
    "holder": lambda service, lease, now: service.manager.holder(lease),
}


@pytest.mark.parametrize("call", LATE_CALLS)
def test_a_late_call_is_refused_and_changes_nothing(bench: Bench, call: str) -> None:
    lease = stale_lease(bench)
    before = all_rows(bench.service)
    with pytest.raises(StaleLease):
        LATE_CALLS[call](bench.service, lease.id, bench.clock())
    assert all_rows(bench.service) == before


def test_a_call_under_a_lease_whose_study_is_gone_is_refused(bench: Bench) -> None:
    lease = bench.lease()
    bench.service.lifecycle.pause(bench.study_id, actor=Actor(), now=bench.clock())
    bench.service.lifecycle.delete(bench.study_id, actor=Actor(), now=bench.clock())
    for call in LATE_CALLS.values():
        with pytest.raises(StaleLease):
            call(bench.service, lease.id, bench.clock())
    assert bench.service.manager.expire(now=bench.clock.forward(1000)) == 0


def test_a_late_call_between_expiry_and_the_next_attempt_is_refused(bench: Bench) -> None:
    lease = bench.lease()
    bench.service.manager.expire(now=bench.clock.forward(LEASE_SECONDS + 1))
    with pytest.raises(StaleLease):
        bench.finish(lease, 0.9)
    assert bench.trial(0).state == "waiting"


# ---- events


def test_listeners_hear_of_it_after_the_commit(bench: Bench) -> None:
    seen = bench.service.events.last_id()
    lease = bench.lease()
    bench.report(lease, 1, 0.4)
    bench.finish(lease, 0.4)
    news = [(event.kind, event.data.get("state")) for event in bench.service.events.since(seen)]
    assert news == [("trial", "running"), ("metric", None), ("trial", "completed")]


def test_listeners_hear_nothing_of_what_was_refused(bench: Bench) -> None:
    lease = stale_lease(bench)
    seen = bench.service.events.last_id()
    with pytest.raises(StaleLease):
        bench.report(lease, 2, 0.4)
    assert bench.service.events.since(seen) == []
