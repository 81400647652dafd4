from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Clock
from tests.tuner.helpers import Bench, make_bench
from tuner.errors import Conflict
from tuner.lifecycle import Actor
from tuner.records import Study
from tuner.service import Service


def change(bench: Bench, **changes: Any) -> Study:
    return bench.service.lifecycle.change_study(bench.study_id, changes, version=None, actor=Actor(), now=bench.clock())


def test_a_completed_study_searches_on_under_a_larger_budget(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"trials": 1})
    bench.complete(0.5)
    assert bench.study().state == "completed"
    with pytest.raises(Conflict, match="without a larger budget"):
        change(bench, parallelism=2)
    after = change(bench, budget={"trials": 2}, parallelism=2)
    assert (after.state, after.reason, after.finished_at, after.spec.parallelism) == ("running", None, None, 2)
    bench.complete(0.6)
    assert (bench.study().state, bench.study().n_created) == ("completed", 2)


def test_a_budget_that_leaves_nothing_to_do_starts_nothing(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"trials": 5, "target": 0.4})
    bench.complete(0.5)
    assert change(bench, budget={"trials": 9}).state == "completed", "its target is reached still"
    assert change(bench, budget={"target": 0.9}).state == "running"


def test_a_study_that_runs_for_an_extended_trial_searches_on_under_a_larger_budget(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"trials": 1}, parallelism=2)
    bench.complete(0.5)
    service.lifecycle.extend(bench.study_id, 0, 1, actor=Actor(), now=clock())
    change(bench, budget={"trials": 2})
    assert {bench.lease().trial, bench.lease().trial} == {0, 1}


def test_a_study_does_not_search_on_while_another_has_its_name(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"trials": 1})
    bench.complete(0.5)
    make_bench(service, clock)
    with pytest.raises(Conflict, match="another study named"):
        change(bench, budget={"trials": 2})
    assert bench.study().spec.budget.trials == 1
