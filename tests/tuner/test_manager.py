from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from studies.definition import Verdict
from studies.errors import InvalidInput
from tests.conftest import Clock
from tests.simulation import point, start_worker
from tests.tuner.helpers import Bench, all_rows, completed, make_bench, plain_study
from tuner.db import lease_rows, metric_rows
from tuner.errors import Conflict, NotFound, StaleLease
from tuner.lifecycle import Actor
from tuner.manager import Ending, Lease
from tuner.records import MetricPoint
from tuner.service import Service

LEASE_SECONDS = 60.0


def running_in(service: Service, study_id: str) -> int:
    return sum(held == study_id for trials in open_leases(service).values() for held, _ in trials)


def open_leases(service: Service) -> dict[str, list[tuple[str, int]]]:
    with service.ledger.read() as connection:
        return lease_rows.open_leases(connection)


def outcomes(bench: Bench, number: int) -> list[str | None]:
    with bench.service.ledger.read() as connection:
        return [attempt.outcome for attempt in lease_rows.attempts_of(connection, bench.trial(number).id)]


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
    worker = service.manager.register(host="n1", pid=1, gpus=[{"name": "g", "memory": 1}] * gpus, versions={}, now=clock())
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


# ---- reports


def test_a_batch_sent_again_is_stored_once_and_answered_alike(bench: Bench) -> None:
    lease = bench.lease()
    first = bench.report(lease, 1, 0.4)
    before = all_rows(bench.service)
    assert bench.report(lease, 1, 0.4) == first == Verdict()
    assert all_rows(bench.service) == before


def test_of_a_number_reported_twice_the_first_stands(bench: Bench) -> None:
    lease = bench.lease()
    bench.report(lease, 1, 0.4)
    bench.report(lease, 1, 0.7)
    assert bench.trial(0).value == 0.4


def test_a_batch_sent_again_after_the_end_is_fine_but_a_new_one_is_not(bench: Bench) -> None:
    lease = bench.lease()
    bench.report(lease, 1, 0.4)
    bench.finish(lease, 0.4)
    before = all_rows(bench.service)
    assert bench.report(lease, 1, 0.4) == Verdict()
    with pytest.raises(StaleLease):
        bench.report(lease, 2, 0.5)
    assert all_rows(bench.service) == before


def test_a_trial_shows_its_last_report(bench: Bench) -> None:
    lease = bench.lease()
    bench.report(lease, 1, 0.6)
    bench.report(lease, 2, 0.5)
    trial = bench.trial(0)
    assert (trial.value, trial.epoch, trial.step) == (0.5, 2.0, 20)


def test_a_report_that_arrives_out_of_order_does_not_turn_progress_back(bench: Bench) -> None:
    lease = bench.lease()
    bench.report(lease, 2, 0.5)
    bench.report(lease, 1, 0.4)
    trial = bench.trial(0)
    assert (trial.value, trial.epoch, trial.step) == (0.5, 2.0, 20)


def test_only_validation_scores_of_the_objective_count_as_value(bench: Bench) -> None:
    lease = bench.lease()
    points = [
        MetricPoint(name="accuracy", value=0.99, step=10, epoch=1.0, split="train"),
        MetricPoint(name="loss", value=0.1, step=10, epoch=1.0, split="validation"),
    ]
    bench.service.manager.report(lease.id, points, now=bench.clock())
    assert bench.trial(0).value is None and bench.trial(0).step == 10


def test_a_score_that_is_not_a_number_is_kept_as_a_point_but_not_as_the_value(bench: Bench) -> None:
    lease = bench.lease()
    bench.report(lease, 1, 0.4)
    bench.report(lease, 2, math.nan)
    assert bench.trial(0).value == 0.4
    with bench.service.ledger.read() as connection:
        values = [p.value for p in metric_rows.metrics_of(connection, bench.trial(0).id)]
    assert values[0] == 0.4 and math.isnan(values[1])


def test_an_empty_report_is_a_heartbeat(bench: Bench) -> None:
    lease = bench.lease()
    assert bench.service.manager.report(lease.id, [], now=bench.clock()) == Verdict()


def test_a_report_or_heartbeat_keeps_the_lease(bench: Bench) -> None:
    lease = bench.lease()
    for epoch in (1, 2, 3):
        bench.clock.forward(LEASE_SECONDS - 1)
        bench.report(lease, epoch, 0.4)
        bench.clock.forward(LEASE_SECONDS - 1)
        assert bench.service.manager.heartbeat(lease.id, now=bench.clock()) == Verdict()
        assert bench.service.manager.expire(now=bench.clock()) == 0


# ---- pruning


@pytest.fixture
def pruning(service: Service, clock: Clock) -> Bench:
    """The default and one good trial have ended; the median pruner judges from now on."""
    bench = make_bench(service, clock, pruner={"name": "median", "startup_trials": 2})
    for value in (0.8, 0.9):
        lease = bench.lease()
        bench.report(lease, 1, value)
        bench.finish(lease, value)
    return bench


def test_a_pruned_trial_ends_with_its_last_value_whether_or_not_the_worker_says_so(pruning: Bench) -> None:
    lease = pruning.lease()
    assert pruning.report(lease, 1, 0.1) == Verdict(stop=True, reason="pruned")
    trial = pruning.trial(2)
    assert (trial.state, trial.value) == ("pruned", 0.1)
    assert trial.finished_at == pruning.clock()
    assert outcomes(pruning, 2) == ["pruned"]


@pytest.mark.parametrize("ending", [completed(0.95), Ending(state="released"), Ending(state="failed", failure=("code", "x"))])
def test_whatever_the_worker_says_then_a_pruned_trial_stays_pruned(pruning: Bench, ending: Ending) -> None:
    lease = pruning.lease()
    pruning.report(lease, 1, 0.1)
    for _ in range(2):
        assert pruning.service.manager.finish(lease.id, ending, now=pruning.clock()) == "pruned"
    assert (pruning.trial(2).state, pruning.trial(2).value) == ("pruned", 0.1)


def test_the_workers_last_word_adds_what_only_it_knows(pruning: Bench) -> None:
    lease = pruning.lease()
    pruning.report(lease, 1, 0.1)
    ending = Ending(state="completed", values={"accuracy": 0.1, "loss": 2.0}, details={"seconds": 3})
    pruning.service.manager.finish(lease.id, ending, now=pruning.clock())
    assert pruning.trial(2).details == {"seconds": 3}
    assert pruning.trial(2).values == {"accuracy": 0.1, "loss": 2.0}


def test_a_pruned_worker_hears_the_same_whatever_it_asks(pruning: Bench) -> None:
    lease = pruning.lease()
    stop = pruning.report(lease, 1, 0.1)
    assert pruning.report(lease, 1, 0.1) == stop
    assert pruning.report(lease, 2, 0.1) == stop
    assert pruning.service.manager.heartbeat(lease.id, now=pruning.clock()) == stop


def test_the_untuned_default_is_never_pruned(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, pruner={"name": "median", "startup_trials": 1}, parallelism=2)
    default = bench.lease()
    bench.report(default, 1, 0.1)
    other = bench.lease()
    bench.report(other, 1, 0.9)
    bench.report(other, 2, 0.9)
    bench.finish(other, 0.9)
    assert bench.report(default, 2, 0.0) == Verdict()
    assert bench.trial(0).origin == "default"


def test_a_trial_tried_again_is_judged_by_what_it_reports_now(pruning: Bench) -> None:
    lost = pruning.lease()
    for epoch in (1, 2, 3):
        pruning.report(lost, epoch, 0.95)
    pruning.service.manager.expire(now=pruning.clock.forward(LEASE_SECONDS + 1))
    again = pruning.lease()
    assert again.trial == lost.trial
    assert pruning.report(again, 1, 0.1).reason == "pruned"


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e308, 5e-324])
@pytest.mark.parametrize("pruner", ["asha", "median", "none"])
def test_any_score_can_be_judged_and_remembered(service: Service, clock: Clock, pruner: str, value: float) -> None:
    bench = make_bench(service, clock, pruner={"name": pruner})
    bench.lease()
    lease = bench.lease()
    bench.report(lease, 1, value)
    service.ledger.database.on_rollback()  # as after a restart: what was remembered comes from rows
    other = bench.lease()
    assert bench.report(other, 1, 0.5).reason in (None, "pruned")


def test_a_batch_with_several_epochs_is_judged_alike_by_a_search_rebuilt_from_rows(service: Service, clock: Clock) -> None:
    verdicts = []
    for name, rebuild in (("live", False), ("rebuilt", True)):
        bench = make_bench(service, clock, name=name, pruner={"name": "asha"}, parallelism=8)
        attrs = []
        for values in ([0.5, 0.6, 0.7], [0.5, 0.6, 0.7], [0.9, 0.1, 0.2], [0.1, 0.8, 0.9]):
            lease = service.manager.lease(bench.worker_id, studies=[bench.study_id], now=clock())
            assert lease is not None
            if rebuild:
                service.ledger.database.on_rollback()
            batch = [point(epoch, value) for epoch, value in enumerate(values, start=1)]
            verdict = service.manager.report(lease.id, batch, now=clock())
            rungs = {name: value for name, value in bench.trial(lease.trial).search_attrs.items() if "rung" in name}
            attrs.append((verdict, rungs))
        verdicts.append(attrs)
    assert verdicts[0] == verdicts[1]


# ---- endings


def test_a_completed_trial_keeps_what_the_worker_says(bench: Bench) -> None:
    lease = bench.lease()
    bench.report(lease, 3, 0.5)
    ending = Ending(state="completed", values={"accuracy": 0.75, "loss": math.inf}, details={"parameters": 7})
    assert bench.service.manager.finish(lease.id, ending, now=bench.clock()) == "completed"
    trial = bench.trial(0)
    assert (trial.state, trial.value, trial.values) == ("completed", 0.75, {"accuracy": 0.75, "loss": math.inf})
    assert trial.details == {"parameters": 7}
    assert outcomes(bench, 0) == ["completed"]


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
    assert outcomes(bench, 0) == ["lost", "lost", "lost"]
    assert service.manager.expire(now=clock.forward(LEASE_SECONDS + 1)) == 0


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
        by_trial = metric_rows.metrics_of_study(connection, bench.study_id, name="accuracy")
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
    assert bench.study().state == "running", "what runs may end"
    bench.finish(running, 0.5)
    assert bench.study().state == "completed"
    assert "target 0.9 is reached by trial 2" in str(bench.study().reason)


def test_trials_that_wait_are_stopped_once_the_target_is_reached(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"trials": 2, "target": 0.9}, parallelism=2)
    first, second = bench.lease(), bench.lease()
    service.manager.finish(first.id, Ending(state="released"), now=clock())
    bench.finish(second, 0.95)
    assert bench.trial(0).state == "stopped"
    assert bench.study().state == "completed"


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


def test_one_trial_that_worked_keeps_a_study_going(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock)
    bench.complete(0.5)
    for _ in range(4):
        bench.fail(bench.lease(), message="out of luck")
    assert bench.study().state == "running"


def test_losing_a_worker_in_a_stopped_study_changes_nothing(bench: Bench) -> None:
    bench.lease()
    bench.service.lifecycle.stop(bench.study_id, actor=Actor(), now=bench.clock())
    assert outcomes(bench, 0) == ["stopped"]
    assert bench.service.manager.expire(now=bench.clock.forward(LEASE_SECONDS + 1)) == 0
    assert bench.trial(0).state == "stopped"


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
