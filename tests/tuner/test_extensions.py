from __future__ import annotations

import json
import math
from typing import Any

import pytest

from studies.definition import Verdict
from tests.conftest import Clock
from tests.tuner.helpers import LEASE_SECONDS, Bench, completed, make_bench
from tuner.db import access_rows, metric_rows
from tuner.db.extension_json import extension_from_json, extension_to_json
from tuner.errors import Conflict, StaleLease
from tuner.granting import Lease
from tuner.lifecycle import Actor
from tuner.manager import Ending
from tuner.records import Ended, Extension
from tuner.service import Service

FIXED = {"learning_rate": {"min": 1e-5, "max": 1e-3, "log": True}, "epochs": {"value": 3}}


def train(bench: Bench, lease: Lease, values: list[float], *, first: int = 1) -> list[Verdict]:
    return [bench.report(lease, epoch, value) for epoch, value in enumerate(values, start=first)]


def extend(bench: Bench, number: int, epochs: int) -> Any:
    return bench.service.lifecycle.extend(bench.study_id, number, epochs, actor=Actor(), now=bench.clock())


def points(bench: Bench, number: int) -> list[tuple[float | None, float]]:
    with bench.service.ledger.read() as connection:
        return [(p.epoch, p.value) for p in metric_rows.metrics_of(connection, bench.trial(number).id)]


@pytest.fixture
def over(service: Service, clock: Clock) -> Bench:
    """A study of two trials of three epochs that has completed; trial 1 is the better one."""
    bench = make_bench(service, clock, parameters=FIXED, budget={"trials": 2})
    for values in ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]):
        lease = bench.lease()
        train(bench, lease, values)
        bench.finish(lease, values[-1])
        clock.forward(10)
    assert bench.study().state == "completed"
    return bench


def test_a_completed_trial_goes_on_and_its_study_ends_as_before(over: Bench) -> None:
    reason = over.study().reason
    extended = extend(over, 1, 2)
    assert (extended.state, extended.extension.until, extended.extension.legs) == ("waiting", 5, (3, 5))
    assert over.study().state == "running"
    lease = over.lease()
    assert (lease.trial, lease.attempt, lease.params["epochs"], lease.legs) == (1, 2, 5, (3, 5))
    assert over.trial(1).params["epochs"] == 3, "what was drawn stays"
    train(over, lease, [0.6, 0.7, 0.8], first=3)
    over.finish(lease, 0.8)
    trial = over.trial(1)
    assert (trial.state, trial.value, trial.epoch) == ("completed", 0.8, 5.0)
    assert points(over, 1) == [(1.0, 0.4), (2.0, 0.5), (3.0, 0.6), (4.0, 0.7), (5.0, 0.8)]
    assert (over.study().state, over.study().reason, over.study().n_created) == ("completed", reason, 2)
    assert over.service.manager.lease(over.worker_id, now=over.clock()) is None


def test_a_number_acknowledged_before_stands_whatever_the_extension_says_of_that_epoch(over: Bench) -> None:
    extend(over, 1, 1)
    lease = over.lease()
    train(over, lease, [0.9, 0.9, 0.61, 0.7])
    assert points(over, 1) == [(1.0, 0.4), (2.0, 0.5), (3.0, 0.6), (4.0, 0.7)]


def test_an_extended_trial_counts_as_it_had_ended_until_it_ends_anew(over: Bench) -> None:
    from tuner.overview import best_of, overview

    extend(over, 1, 2)
    lease = over.lease()
    over.report(lease, 4, 0.05)
    with over.service.ledger.read() as connection:
        best = best_of(connection, over.study())
        view = overview(connection, over.study(), now=over.clock())
    assert best is not None and (best.number, best.value, best.state) == (1, 0.6, "completed")
    assert list(view.trend) == [0.3, 0.6]


@pytest.mark.parametrize("how", ["failed", "stopped", "lost", "study stopped"])
def test_an_extension_that_comes_to_nothing_leaves_the_result_as_it_was(service: Service, clock: Clock, how: str) -> None:
    bench = make_bench(service, clock, parameters=FIXED, budget={"trials": 1}, retries=0)
    lease = bench.lease()
    train(bench, lease, [0.4, 0.5, 0.6])
    ending = Ending(state="completed", values={"accuracy": 0.6, "loss": math.inf}, details={"parameters": 7})
    service.manager.finish(lease.id, ending, now=clock())
    extend(bench, 0, 2)
    lease = bench.lease()
    bench.report(lease, 4, 0.1)
    if how == "failed":
        assert bench.fail(lease, "oom", "too large") == "failed"
        assert bench.fail(lease, "oom", "too large") == "failed", "said again, the same answer"
    elif how == "lost":
        assert service.manager.expire(now=clock.forward(LEASE_SECONDS + 1)) == 1
    elif how == "stopped":
        service.lifecycle.stop_trial(bench.study_id, 0, actor=Actor(), now=clock())
    else:
        service.lifecycle.stop(bench.study_id, actor=Actor(), now=clock())
    trial = bench.trial(0)
    assert (trial.state, trial.value, trial.epoch, trial.failure_kind) == ("completed", 0.6, 3.0, None)
    assert (trial.values, trial.details) == ({"accuracy": 0.6, "loss": math.inf}, {"parameters": 7})
    assert "its extension ended" in str(trial.reason)
    assert bench.study().state == "completed"
    if how != "failed":
        with pytest.raises(StaleLease):
            service.manager.heartbeat(lease.id, now=clock())


def test_a_pruned_trial_goes_on_under_the_schedule_it_was_started_with(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, parameters=FIXED, pruner={"name": "median", "startup_trials": 1})
    lease = bench.lease()
    train(bench, lease, [0.5, 0.6, 0.7])
    bench.finish(lease, 0.7)
    assert train(bench, bench.lease(), [0.1])[-1].reason == "pruned"
    extended = extend(bench, 1, 2)
    assert (extended.extension.until, extended.extension.legs) == (3, (3,))
    lease = bench.lease()
    assert [verdict.stop for verdict in train(bench, lease, [0.1, 0.1, 0.1])] == [False] * 3, "a person asked for it"
    bench.finish(lease, 0.1)
    assert bench.trial(1).state == "completed"
    assert extend(bench, 1, 1).extension.legs == (3, 4)


def test_a_second_extension_adds_a_leg_and_goes_back_to_the_first(over: Bench) -> None:
    for epochs, value in ((1, 0.7), (2, 0.9)):
        extend(over, 1, epochs)
        lease = over.lease()
        over.report(lease, lease.params["epochs"], value)  # type: ignore[arg-type]
        if value == 0.7:
            over.finish(lease, value)
    assert over.trial(1).extension.legs == (3, 4, 6)  # type: ignore[union-attr]
    over.fail(lease)
    trial = over.trial(1)
    assert (trial.value, trial.epoch, trial.as_first_ended.value) == (0.7, 4.0, 0.6)


def test_the_search_decides_as_if_nothing_had_been_extended(service: Service, clock: Clock) -> None:
    drawn = []
    for name, extended, rebuild in (("plain", False, False), ("extended", True, False), ("rebuilt", True, True)):
        sampler = {"name": "tpe", "startup_trials": 2}
        bench = make_bench(
            service, clock, name=name, parameters=FIXED, sampler=sampler, pruner={"name": "median", "startup_trials": 2}
        )
        found: list[Any] = []
        for number in range(6):
            lease = service.manager.lease(bench.worker_id, studies=[bench.study_id], now=clock())
            assert lease is not None
            found.append((lease.trial, dict(lease.params), train(bench, lease, [0.5 + (number % 3) / 10, 0.6])))
            service.manager.finish(lease.id, completed(0.6 + number / 100), now=clock())
            if extended and number == 2:
                extend(bench, 2, 4)
                more = service.manager.lease(bench.worker_id, studies=[bench.study_id], now=clock())
                assert more is not None and more.trial == 2
                train(bench, more, [0.0, 0.0, 0.99, 0.99])
                if rebuild:
                    service.ledger.database.on_rollback()
                service.manager.finish(more.id, completed(0.99), now=clock())
            if rebuild:
                service.ledger.database.on_rollback()
        service.lifecycle.stop(bench.study_id, actor=Actor(), now=clock())
        drawn.append(found)
    assert drawn[0] == drawn[1] == drawn[2]


def test_only_what_has_ended_and_can_go_on_is_extended(bench: Bench) -> None:
    lease = bench.lease()
    with pytest.raises(Conflict, match="running"):
        extend(bench, 0, 1)
    bench.fail(lease, "nan")
    with pytest.raises(Conflict, match="failed"):
        extend(bench, 0, 1)


def test_a_study_whose_name_is_taken_by_now_is_not_taken_up_again(over: Bench, clock: Clock) -> None:
    make_bench(over.service, clock)
    with pytest.raises(Conflict, match="another study named"):
        extend(over, 1, 1)
    assert over.trial(1).state == "completed"


def test_a_stopped_study_runs_for_the_extended_trial_only_through_a_pause_too(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, parameters=FIXED, budget={"trials": 9})
    bench.complete(0.5)
    service.lifecycle.stop(bench.study_id, actor=Actor(), now=clock())
    extend(bench, 0, 1)
    service.lifecycle.pause(bench.study_id, actor=Actor(), now=clock())
    service.lifecycle.resume(bench.study_id, actor=Actor(), now=clock())
    lease = bench.lease()
    assert lease.trial == 0 and service.manager.lease(bench.worker_id, now=clock()) is None
    bench.finish(lease, 0.6)
    assert (bench.study().state, bench.study().reason, bench.study().n_created) == ("stopped", "stopped by a user", 1)


def test_an_extension_stands_in_the_audit_log(over: Bench) -> None:
    extend(over, 1, 2)
    with over.service.ledger.read() as connection:
        [latest], _ = access_rows.list_audit(connection, before_id=None, limit=1)
    assert (latest.action, latest.subject, latest.detail) == ("trial.extend", f"{over.study_id}/1", "2 more, to epoch 5")


def test_an_extension_survives_the_way_through_json(clock: Clock) -> None:
    ended = Ended(
        state="pruned",
        value=-math.inf,
        values={"accuracy": -math.inf, "loss": math.nan},
        epoch=1.0,
        step=7,
        reason="x",
        details={"seconds": 3},
        finished_at=clock(),
    )
    extension = Extension(until=5, legs=(3, 5), first=ended, before=None)
    assert repr(extension_from_json(json.loads(json.dumps(extension_to_json(extension))))) == repr(extension)
