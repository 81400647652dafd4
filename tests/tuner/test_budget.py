from __future__ import annotations

import random
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection

from tests.conftest import Clock
from tests.simulation import keep_checkpoint
from tests.tuner.helpers import Bench, make_bench
from tests.tuner.test_artifacts import attach
from tests.tuner.test_promotion import asha_bench, run_default, to_first_rung
from tuner.budget import all_started, exhausted, gpu_hours, limit_reached
from tuner.db.gain_rows import ended_since_best
from tuner.db.lease_rows import lease_time
from tuner.granting import Lease
from tuner.ledger import Change
from tuner.lifecycle import Actor
from tuner.records import Study
from tuner.service import Service
from tuner.workforce import add_worker


def reason(bench: Bench) -> str | None:
    with bench.service.ledger.read() as connection:
        return exhausted(connection, bench.study(), bench.clock())


def test_a_fresh_study_may_go_on(bench: Bench) -> None:
    assert reason(bench) is None


def test_the_number_of_trials_is_a_limit_for_new_ones_only(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"trials": 1})
    assert reason(bench) == all_started(bench.study()) == "the budget of 1 trials is used up"
    with service.ledger.read() as connection:
        assert limit_reached(connection, bench.study(), clock()) is None


def test_hours_are_those_in_which_a_trial_ran(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"hours": 1}, parallelism=2)
    clock.forward(36_000)  # no worker yet
    first, second = bench.lease(), bench.lease()  # side by side: counted once
    clock.forward(1800)
    bench.finish(first, 0.5)
    bench.finish(second, 0.5)
    clock.forward(36_000)  # nobody works at night
    bench.lease()
    clock.forward(1799)
    assert reason(bench) is None
    clock.forward(1)
    assert reason(bench) == "trials have run for 1 hours"


def test_gpu_hours_count_one_gpu_for_every_attempt(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"gpu_hours": 2})
    gpus = [{"name": "g", "memory": 1}] * 2
    bench.worker_id = add_worker(service.ledger, host="n1", pid=1, gpus=gpus, versions={}, now=clock()).id
    first = bench.lease()
    clock.forward(1800)
    bench.finish(first, 0.5)
    clock.forward(3600)
    lost = bench.lease()
    service.manager.expire(now=clock.forward(1800))
    assert bench.lease().trial == lost.trial
    clock.forward(1800)
    with service.ledger.read() as connection:
        assert gpu_hours(connection, bench.study(), clock()) == pytest.approx(1.5)
    assert reason(bench) is None
    clock.forward(1800)
    assert reason(bench) == "2 GPU-hours are used"


def test_a_worker_without_gpu_uses_no_gpu_hours(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"gpu_hours": 0.001})
    bench.lease()
    clock.forward(36_000)
    assert reason(bench) is None


@pytest.mark.parametrize(
    ("objective", "value", "target", "reached"),
    [
        ({"metric": "accuracy"}, 0.9, 0.9, True),
        ({"metric": "accuracy"}, 0.89, 0.9, False),
        ({"metric": "accuracy", "direction": "minimize"}, 0.1, 0.1, True),
        ({"metric": "accuracy", "direction": "minimize"}, 0.11, 0.1, False),
    ],
)
def test_a_target_is_reached_in_the_objectives_direction(
    service: Service, clock: Clock, objective: object, value: float, target: float, reached: bool
) -> None:
    bench = make_bench(service, clock, objective=objective, budget={"target": target})
    bench.complete(value)
    assert (reason(bench) == f"the target {target:g} is reached by trial 0") is reached


def test_only_a_completed_trial_reaches_the_target(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"target": 0.9})
    lease = bench.lease()
    bench.report(lease, 1, 0.95)
    assert reason(bench) is None
    bench.fail(lease)
    assert reason(bench) is None


def since_gain(bench: Bench, maximize: bool = True) -> int:
    with bench.service.ledger.read() as connection:
        return ended_since_best(connection, bench.study_id, maximize=maximize)


def test_trials_without_gain_count_from_the_best_one(bench: Bench) -> None:
    assert since_gain(bench) == 0
    bench.fail(bench.lease())
    assert since_gain(bench) == 0, "nothing has completed yet"
    since = []
    for value in (0.5, 0.5, 0.4, 0.6):
        bench.clock.forward(1)
        bench.complete(value)
        since.append((since_gain(bench, True), since_gain(bench, False)))
    bench.fail(bench.lease())
    assert since == [(0, 0), (1, 1), (2, 0), (0, 1)]
    assert since_gain(bench, True) == 1


def test_hours_are_counted_anew_once_a_clock_that_was_ahead_is_put_right(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"trials": None, "hours": 1})
    clock.forward(10**6)
    bench.complete(0.5)
    clock.forward(-(10**6))
    lease = bench.lease()
    clock.forward(3600)
    bench.finish(lease, 0.4)
    assert (bench.study().state, bench.study().reason) == ("completed", "trials have run for 1 hours")


@pytest.mark.parametrize("seed", range(5))
def test_trials_without_gain_are_counted_as_seldom_as_they_may_be(
    service: Service, clock: Clock, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """The service remembers how many there can be; the study ends just when one that remembers nothing would end it."""
    counted: list[int] = []

    def count(connection: Connection, study_id: str, *, maximize: bool) -> int:
        counted.append(ended_since_best(connection, study_id, maximize=maximize))
        return counted[-1]

    monkeypatch.setattr("tuner.budget.ended_since_best", count)
    bench, rng = make_bench(service, clock, budget={"trials": None, "no_gain_in": 8}, parallelism=2), random.Random(seed)
    ended, since, best = 0, 0, -1.0
    while since < 8:
        clock.forward(1)
        assert bench.study().state == "running"
        value = rng.uniform(best, 1) if rng.random() < 0.3 / (1 + ended / 20) else 0.0
        lease, ended = bench.lease(), ended + 1
        if rng.random() < 0.2:
            bench.fail(lease, kind="nan", message=f"nan {ended}")
            since += best >= 0
        else:
            bench.finish(lease, value)
            best, since = max(best, value), 0 if value > best else since + 1
    assert (bench.study().state, bench.study().reason) == ("completed", "no gain in 8 trials")
    assert len(counted) <= ended / 2 + 2


def test_checkpoints_logs_and_numbers_make_nothing_be_counted_anew(
    service: Service, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []
    for name, real in (("lease_time", lease_time), ("ended_since_best", ended_since_best)):

        def count(*given: Any, _name: str = name, _real: Any = real, **named: Any) -> Any:
            counted.append(_name)
            return _real(*given, **named)

        monkeypatch.setattr(f"tuner.budget.{name}", count)
    bench = make_bench(service, clock, budget={"trials": None, "hours": 24, "gpu_hours": 24, "no_gain_in": 50})
    bench.complete(0.5)
    before = len(counted)
    for _ in range(5):
        lease = bench.lease()
        bench.report(lease, 1, 0.4)
        service.manager.log(lease.id, ["epoch 1"], now=clock())
        keep_checkpoint(service, lease, 1, clock())
        attach(bench, lease, "results.json", b"{}")
        bench.finish(lease, 0.4)
        clock.forward(60)
    assert len(counted) - before <= 3


def test_of_equally_good_trials_the_one_that_ended_first_counts(bench: Bench) -> None:
    first, second = bench.lease(), bench.lease()
    for lease in (second, first):
        bench.clock.forward(1)
        bench.finish(lease, 0.5)
    assert since_gain(bench) == 1


def test_a_trial_that_is_being_extended_counts_as_it_had_ended(bench: Bench) -> None:
    for value in (0.4, 0.6, 0.5):
        bench.clock.forward(1)
        lease = bench.lease()
        bench.report(lease, 1, value)
        bench.finish(lease, value)
    assert since_gain(bench) == 1
    for number in (1, 2):
        bench.service.lifecycle.extend(bench.study_id, number, 1, actor=Actor(), now=bench.clock())
        assert since_gain(bench) == 1


def test_one_that_was_set_aside_has_brought_no_gain(service: Service, clock: Clock) -> None:
    bench = asha_bench(service, clock, budget={"trials": 12})
    run_default(bench)
    for _ in range(2):
        clock.forward(1)
        to_first_rung(bench, 0.1)
    assert [trial.set_aside_at is not None for trial in bench.trials()] == [False, True, True]
    assert since_gain(bench) == 2


def reached(study: Study, change: Change, *, now: datetime, ahead: timedelta) -> str | None:
    return limit_reached(change.connection, study, now, ahead=ahead)


@pytest.mark.parametrize(("limit", "parallelism", "gpus"), [("hours", 3, 0), ("gpu_hours", 3, 1), ("gpu_hours", 1, 2)])
@pytest.mark.parametrize("seed", range(5))
def test_hours_are_looked_up_as_seldom_as_they_may_be(
    service: Service, clock: Clock, monkeypatch: pytest.MonkeyPatch, limit: str, parallelism: int, gpus: int, seed: int
) -> None:
    """The service remembers until when hours are left; a connection that remembers nothing must find the same."""
    rng = random.Random(seed)
    resources = {"gpus": gpus} if gpus > 1 else {}
    bench = make_bench(service, clock, budget={"trials": None, limit: 2}, parallelism=parallelism, resources=resources)
    here = [{"name": "g", "memory": 1}] * gpus
    bench.worker_id = add_worker(service.ledger, host="n1", pid=1, gpus=here, versions={}, now=clock()).id
    looks: list[str] = []

    def looked(connection: Connection, study_id: str) -> Any:
        looks.append(study_id)
        return lease_time(connection, study_id)

    monkeypatch.setattr("tuner.budget.lease_time", looked)
    ahead, leases, asked = timedelta(seconds=30), list[Lease](), 0
    while True:
        clock.forward(rng.uniform(1, 120))
        if leases and rng.random() < 0.4:
            bench.finish(leases.pop(rng.randrange(len(leases))), 0.5)
        asked += 1
        study, before = bench.study(), len(looks)
        remembered = service.ledger.change(partial(reached, study, now=clock(), ahead=ahead))
        with service.ledger.read() as connection:
            seen = len(looks)
            assert remembered == limit_reached(connection, study, clock(), ahead=ahead)
        del looks[seen:]
        assert len(looks) - before <= 1
        if remembered is not None:
            break
        if len(leases) < parallelism and rng.random() < 0.8:
            lease = service.manager.lease(bench.worker_id, now=clock())
            leases += [lease] if lease is not None else []
        for lease in leases:
            service.manager.heartbeat(lease.id, now=clock())
    assert len(looks) < asked / 2
