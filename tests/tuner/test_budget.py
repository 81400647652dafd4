from __future__ import annotations

import pytest

from tests.conftest import Clock
from tests.tuner.helpers import Bench, make_bench
from tuner.budget import all_started, exhausted, gpu_hours, limit_reached, trials_since_gain
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


def test_trials_without_gain_count_from_the_best_one(bench: Bench) -> None:
    assert trials_since_gain(bench.trials(), True) == 0
    bench.fail(bench.lease())
    assert trials_since_gain(bench.trials(), True) == 0, "nothing has completed yet"
    since = []
    for value in (0.5, 0.5, 0.4, 0.6):
        bench.clock.forward(1)
        bench.complete(value)
        since.append((trials_since_gain(bench.trials(), True), trials_since_gain(bench.trials(), False)))
    bench.fail(bench.lease())
    assert since == [(0, 0), (1, 1), (2, 0), (0, 1)]
    assert trials_since_gain(bench.trials(), True) == 1
