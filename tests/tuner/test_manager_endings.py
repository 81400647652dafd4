from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest

from studies.errors import InvalidInput
from tests.conftest import Clock
from tests.tuner.helpers import LEASE_SECONDS, Bench, all_rows, completed, make_bench
from tuner.budget import gpu_hours, hours
from tuner.db import metric_rows
from tuner.errors import Conflict, StaleLease
from tuner.lifecycle import Actor
from tuner.manager import Ending
from tuner.service import Service
from tuner.settling import settle_all
from tuner.workforce import add_worker

# ---- endings


def test_a_completed_trial_keeps_what_the_worker_says(bench: Bench) -> None:
    lease = bench.lease()
    bench.report(lease, 3, 0.5)
    ending = Ending(state="completed", values={"accuracy": 0.75, "loss": math.inf}, details={"parameters": 7})
    assert bench.service.manager.finish(lease.id, ending, now=bench.clock()) == "completed"
    trial = bench.trial(0)
    assert (trial.state, trial.value, trial.values) == ("completed", 0.75, {"accuracy": 0.75, "loss": math.inf})
    assert trial.details == {"parameters": 7}
    assert bench.outcomes(0) == ["completed"]


ENDINGS = [
    completed(0.5),
    completed(0.5, loss=math.nan),
    completed(0.5, loss=-math.inf),
    completed(math.nan),
    Ending(state="released"),
    Ending(state="failed", failure=("code", "x")),
    Ending(state="failed", failure=("oom", "x")),
    Ending(state="failed", failure=("hardware", "x")),
    Ending(state="failed", failure=("preempted", "x")),
    Ending(state="failed", failure=("lost", "x")),
]


@pytest.mark.parametrize("ending", ENDINGS, ids=str)
def test_a_finish_said_again_gets_the_same_answer_and_changes_nothing(bench: Bench, ending: Ending) -> None:
    lease = bench.lease()
    first = bench.service.manager.finish(lease.id, ending, now=bench.clock())
    assert first in ("completed", "failed", "released")
    before = all_rows(bench.service)
    assert bench.service.manager.finish(lease.id, ending, now=bench.clock.forward(5)) == first
    assert all_rows(bench.service) == before


def test_a_finish_with_other_values_is_a_conflict(bench: Bench) -> None:
    lease = bench.lease()
    bench.finish(lease, 0.5)
    for other in (completed(0.6), Ending(state="failed", failure=("code", "x"))):
        with pytest.raises(Conflict) as refusal:
            bench.service.manager.finish(lease.id, other, now=bench.clock())
        assert not isinstance(refusal.value, StaleLease)
    assert bench.trial(0).value == 0.5


def test_a_completed_trial_needs_a_value_of_the_objective(bench: Bench) -> None:
    lease = bench.lease()
    with pytest.raises(InvalidInput, match=r"values\.accuracy"):
        bench.service.manager.finish(lease.id, Ending(state="completed", values={"loss": 1.0}), now=bench.clock())
    assert bench.trial(0).state == "running"


def test_without_a_last_value_a_completed_trial_keeps_the_last_reported_one(bench: Bench) -> None:
    lease = bench.lease()
    bench.report(lease, 1, 0.4)
    bench.service.manager.finish(lease.id, Ending(state="completed"), now=bench.clock())
    assert (bench.trial(0).value, bench.trial(0).values) == (0.4, {"accuracy": 0.4})


def test_a_score_that_is_not_a_number_fails_the_trial(bench: Bench) -> None:
    lease = bench.lease()
    assert bench.finish(lease, math.nan) == "failed"
    assert (bench.trial(0).state, bench.trial(0).failure_kind) == ("failed", "nan")


def test_a_failed_trial_says_why(bench: Bench) -> None:
    lease = bench.lease()
    assert bench.fail(lease, "data", "no column") == "failed"
    trial = bench.trial(0)
    assert (trial.state, trial.failure_kind, trial.failure_message) == ("failed", "data", "no column")


# ---- lost, preempted, released


def test_a_lost_trial_is_tried_again_and_then_fails(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, retries=2, parallelism=1)
    for attempt in (1, 2, 3):
        lease = bench.lease()
        assert (lease.trial, lease.attempt, bench.trial(0).retries) == (0, attempt, attempt - 1)
        assert service.manager.expire(now=clock.forward(LEASE_SECONDS + 1)) == 1
    trial = bench.trial(0)
    assert (trial.state, trial.failure_kind, trial.retries) == ("failed", "lost", 2)
    assert bench.outcomes(0) == ["lost", "lost", "lost"]
    assert service.manager.expire(now=clock.forward(LEASE_SECONDS + 1)) == 0


@pytest.mark.parametrize("ending", ENDINGS, ids=str)
def test_the_last_word_of_a_lost_worker_counts_for_nothing_also_where_no_retry_is_left(
    service: Service, clock: Clock, ending: Ending
) -> None:
    bench = make_bench(service, clock, retries=0)
    lease = bench.lease()
    service.manager.expire(now=clock.forward(LEASE_SECONDS + 1))
    before = all_rows(service)
    with pytest.raises(StaleLease):
        service.manager.finish(lease.id, ending, now=clock())
    assert all_rows(service) == before


def test_a_hardware_fault_costs_a_retry(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, retries=1)
    bench.fail(bench.lease(), "hardware")
    assert (bench.trial(0).state, bench.trial(0).retries) == ("waiting", 1)
    bench.fail(bench.lease(), "hardware")
    assert bench.trial(0).state == "failed"


@pytest.mark.parametrize("ending", [Ending(state="released"), Ending(state="failed", failure=("preempted", "node gone"))])
def test_giving_a_trial_back_costs_no_retry(service: Service, clock: Clock, ending: Ending) -> None:
    bench = make_bench(service, clock, retries=0)
    for attempt in (1, 2, 3):
        lease = bench.lease()
        assert (lease.trial, lease.attempt) == (0, attempt)
        service.manager.finish(lease.id, ending, now=clock())
        trial = bench.trial(0)
        assert (trial.state, trial.retries, trial.lease_id, trial.worker_id) == ("waiting", 0, None, None)


@pytest.mark.parametrize("kind", ["oom", "nan", "data", "code", "timeout"])
def test_what_another_attempt_would_not_mend_is_not_tried_again(bench: Bench, kind: str) -> None:
    bench.fail(bench.lease(), kind)
    assert (bench.trial(0).state, bench.trial(0).failure_kind) == ("failed", kind)


def test_what_a_lost_attempt_reported_is_set_aside(bench: Bench) -> None:
    lost = bench.lease()
    bench.report(lost, 1, 0.4)
    bench.report(lost, 2, 0.5)
    bench.service.manager.expire(now=bench.clock.forward(LEASE_SECONDS + 1))
    again = bench.lease()
    assert (bench.trial(0).value, bench.trial(0).epoch, bench.trial(0).step) == (None, None, None)
    bench.report(again, 1, 0.3)
    with bench.service.ledger.read() as connection:
        points = metric_rows.metrics_of(connection, bench.trial(0).id)
        by_trial = metric_rows.scores_of_study(connection, bench.study_id, "accuracy")
    assert [p.value for p in points] == [0.3]
    assert [p.value for p in by_trial[0]] == [0.3]
    assert bench.trial(0).started_at == bench.clock.now.replace(minute=0, second=0), "wall time counts from the first attempt"


def test_a_search_with_a_retried_trial_decides_as_one_rebuilt_from_rows(service: Service, clock: Clock) -> None:
    drawn = []
    for name, rebuild in (("live", False), ("rebuilt", True)):
        sampler = {"name": "tpe", "startup_trials": 2}
        bench = make_bench(service, clock, name=name, parallelism=2, sampler=sampler, pruner={"name": "asha"})
        found = []
        for epoch in range(1, 8):
            lease = service.manager.lease(bench.worker_id, studies=[bench.study_id], now=clock())
            assert lease is not None
            found.append((lease.trial, lease.params, bench.report(lease, 1, 0.1 * epoch)))
            if epoch % 3 == 0:
                service.manager.expire(now=clock.forward(LEASE_SECONDS + 1))
            else:
                service.manager.finish(lease.id, completed(0.1 * epoch), now=clock())
            if rebuild:
                service.ledger.database.on_rollback()
        service.lifecycle.stop(bench.study_id, actor=Actor(), now=clock())
        drawn.append(found)
    assert drawn[0] == drawn[1]
    assert max(Counter(number for number, _, _ in drawn[0]).values()) > 1, "no trial was retried, so nothing was shown"


# ---- how a study ends


def test_a_study_completes_when_all_its_trials_have_ended(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"trials": 3})
    for value in (0.1, 0.2, 0.3):
        assert bench.study().state == "running"
        bench.complete(value)
    study = bench.study()
    assert (study.state, study.reason) == ("completed", "the budget of 3 trials is used up")
    assert study.finished_at == clock()
    assert service.manager.lease(bench.worker_id, now=clock()) is None


def test_a_study_waits_for_the_trials_that_still_run_or_wait(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"trials": 2}, parallelism=2)
    first, second = bench.lease(), bench.lease()
    bench.finish(first, 0.5)
    service.manager.finish(second.id, Ending(state="released"), now=clock())
    assert bench.study().state == "running"
    bench.complete(0.6)
    assert bench.study().state == "completed"


def test_a_study_ends_when_its_target_is_reached(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"trials": 50, "target": 0.9})
    running = bench.lease()
    bench.complete(0.89)
    bench.complete(0.9)
    assert service.manager.lease(bench.worker_id, now=clock()) is None
    assert bench.study().state == "completed"
    assert bench.finish(running, 0.5) == "stopped", "a budget is never overshot, so what still ran was stopped"
    assert "target 0.9 is reached by trial 2" in str(bench.study().reason)


def test_trials_that_wait_are_stopped_once_the_target_is_reached(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"trials": 2, "target": 0.9}, parallelism=2)
    first, second = bench.lease(), bench.lease()
    service.manager.finish(first.id, Ending(state="released"), now=clock())
    bench.finish(second, 0.95)
    assert bench.trial(0).state == "stopped"
    assert bench.study().state == "completed"


@pytest.mark.parametrize(("limit", "gpus", "workers"), [("hours", [], 1), ("gpu_hours", [{"name": "x"}], 4)])
def test_hours_are_never_overshot(service: Service, clock: Clock, limit: str, gpus: list[dict[str, Any]], workers: int) -> None:
    bench = make_bench(service, clock, budget={"trials": None, limit: 0.02}, parallelism=workers)
    ids = [add_worker(service.ledger, host="h", pid=n, gpus=gpus, versions={}, now=clock()).id for n in range(workers)]
    while bench.study().state == "running":
        for worker_id in ids:
            lease = service.manager.lease(worker_id, now=clock())
            if lease is not None and bench.trial(lease.trial).number % 2:
                bench.finish(lease, 0.5)
        settle_all(service.ledger, ahead=service.manager.tick, now=clock())
        for trial in bench.trials():
            if trial.state == "running":
                service.manager.heartbeat(str(trial.lease_id), now=clock())
        clock.forward(service.manager.tick.total_seconds())
    with service.ledger.read() as connection:
        used = hours(connection, bench.study_id, clock()) if limit == "hours" else gpu_hours(connection, bench.study(), clock())
    assert 0.01 < used <= 0.02
    assert {trial.state for trial in bench.trials()} <= {"completed", "stopped"}


def test_a_study_ends_after_so_many_trials_without_gain(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"trials": 50, "no_gain_in": 3})
    for value in (0.5, 0.4, 0.6, 0.6, 0.5, 0.4):
        assert bench.study().state == "running"
        clock.forward(1)
        bench.complete(value)
    assert (bench.study().state, bench.study().reason) == ("completed", "no gain in 3 trials")


def test_a_study_ends_after_its_hours_even_if_nobody_asks(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"hours": 2})
    for seconds, state in ((3600, "running"), (3599, "running"), (1, "completed")):
        lease = bench.lease()
        clock.forward(seconds)
        bench.finish(lease, 0.5)
        assert bench.study().state == state
    assert bench.study().reason == "trials have run for 2 hours"


def test_a_study_all_of_whose_trials_failed_has_failed(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"trials": 2})
    bench.fail(bench.lease(), message="one")
    bench.fail(bench.lease(), message="two")
    assert bench.study().state == "failed"


def test_a_study_pauses_when_its_first_trials_all_fail_alike(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock)
    for _ in range(2):
        bench.fail(bench.lease(), message="no such column")
    assert bench.study().state == "running"
    bench.fail(bench.lease(), message="no such column")
    study = bench.study()
    assert study.state == "paused" and "no such column" in str(study.reason)
    assert service.manager.lease(bench.worker_id, now=clock()) is None


@pytest.mark.parametrize("messages", [["a", "a", "b"], ["a", "b", "a", "b"]])
def test_different_failures_do_not_pause_a_study(service: Service, clock: Clock, messages: list[str]) -> None:
    bench = make_bench(service, clock)
    for message in messages:
        bench.fail(bench.lease(), message=message)
    assert bench.study().state == "running"


def test_losing_a_worker_in_a_stopped_study_changes_nothing(bench: Bench) -> None:
    bench.lease()
    bench.service.lifecycle.stop(bench.study_id, actor=Actor(), now=bench.clock())
    assert bench.outcomes(0) == ["stopped"]
    assert bench.service.manager.expire(now=bench.clock.forward(LEASE_SECONDS + 1)) == 0
    assert bench.trial(0).state == "stopped"
