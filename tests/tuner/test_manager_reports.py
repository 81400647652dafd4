from __future__ import annotations

import math

import pytest

from studies.definition import Verdict
from tests.conftest import Clock
from tests.simulation import point
from tests.tuner.helpers import LEASE_SECONDS, Bench, all_rows, completed, make_bench
from tuner.db import metric_rows
from tuner.errors import StaleLease
from tuner.manager import Ending
from tuner.records import MetricPoint
from tuner.service import Service

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
    assert pruning.outcomes(2) == ["pruned"]


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
    assert bench.report(other, 1, 0.5).reason in (None, "pruned", "promoted_later")


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
