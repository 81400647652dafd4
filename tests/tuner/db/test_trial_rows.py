from __future__ import annotations

import math
from typing import Any

import pytest

from studies.definition import ParamValue
from tests.conftest import Clock
from tests.tuner.helpers import Bench, make_bench
from tuner.db import overview_rows, trial_rows
from tuner.db.trial_rows import Comparison, Condition
from tuner.lifecycle import Actor
from tuner.service import Service

PARAMS: list[dict[str, ParamValue]] = [
    {"learning_rate": 3e-4, "batch_size": 16, "optimizer": "sgd", "momentum": 0.9},
    {"learning_rate": 1e-5, "batch_size": 8, "optimizer": "adamw"},
    {"learning_rate": 2e-4, "batch_size": 32, "optimizer": "sgd", "momentum": 0.6},
]
VALUES = [0.7, None, -math.inf]


@pytest.fixture
def filled(service: Service, clock: Clock) -> Bench:
    """Trials 1 to 3 have the parameters above; 0 and 2 have no value, 1 has 0.7 and 3 a negative infinity."""
    bench = make_bench(service, clock, parallelism=9)
    bench.lease()
    for params, value in zip(PARAMS, VALUES, strict=True):
        trial = service.lifecycle.enqueue(bench.study_id, params, actor=Actor(), now=clock())
        lease = bench.lease()
        assert lease.trial == trial.number
        clock.forward(100)
        if value is None:
            bench.fail(lease)
        else:
            bench.finish(lease, value)
    return bench


def listed(bench: Bench, **options: Any) -> list[int]:
    with bench.service.ledger.read() as connection:
        trials, total = trial_rows.list_trials(connection, bench.study_id, **options)
    assert "limit" in options or total == len(trials)
    return [trial.number for trial in trials]


@pytest.mark.parametrize(
    ("sort", "descending", "as_text", "expected"),
    [
        ("number", True, False, [3, 2, 1, 0]),
        ("value", False, False, [3, 1, 0, 2]),
        ("value", True, False, [1, 3, 0, 2]),
        ("state", False, False, [1, 3, 2, 0]),
        ("finished_at", True, False, [3, 2, 1, 0]),
        ("seconds", False, False, [1, 2, 3, 0]),
        ("learning_rate", False, False, [2, 0, 3, 1]),
        ("learning_rate", True, False, [1, 3, 0, 2]),
        ("batch_size", False, False, [0, 2, 1, 3]),
        ("momentum", False, False, [3, 1, 0, 2]),
        ("momentum", True, False, [1, 3, 0, 2]),
        ("optimizer", False, True, [0, 2, 1, 3]),
        ("optimizer", True, True, [1, 3, 0, 2]),
    ],
)
def test_sorting(filled: Bench, sort: str, descending: bool, as_text: bool, expected: list[int]) -> None:
    assert listed(filled, sort=sort, descending=descending, sort_as_text=as_text) == expected


@pytest.mark.parametrize(
    ("column", "comparison", "value", "expected"),
    [
        ("value", ">", 0.5, [1]),
        ("value", "<", 0.5, [3]),
        ("value", "!=", 0.7, [0, 2, 3]),
        ("value", "=", -math.inf, [3]),
        ("number", ">=", 2.5, [3]),
        ("number", "<", 1e30, [0, 1, 2, 3]),
        ("attempt", "=", 1.0, [0, 1, 2, 3]),
        ("state", "=", "failed", [2]),
        ("state", "!=", "failed", [0, 1, 3]),
        ("learning_rate", "<=", 5e-5, [0, 2]),
        ("learning_rate", "=", 3e-4, [1]),
        ("batch_size", ">", 8.0, [1, 3]),
        ("batch_size", "=", 8.0, [0, 2]),
        ("momentum", "<", 0.9, [3]),
        ("momentum", "!=", 0.9, [0, 2, 3]),
        ("optimizer", "=", "sgd", [1, 3]),
        ("optimizer", "!=", "sgd", [0, 2]),
    ],
)
def test_filtering(filled: Bench, column: str, comparison: Comparison, value: float | str, expected: list[int]) -> None:
    assert listed(filled, where=[Condition(column, comparison, value)]) == expected


def test_all_conditions_must_hold(filled: Bench) -> None:
    conditions = [Condition("optimizer", "=", "sgd"), Condition("learning_rate", ">", 2.5e-4)]
    assert listed(filled, where=conditions) == [1]
    assert listed(filled, where=conditions, states=["failed", "running"]) == []
    assert listed(filled, states=["failed", "running"]) == [0, 2]


def test_a_page_and_how_many_there_are(filled: Bench) -> None:
    with filled.service.ledger.read() as connection:
        trials, total = trial_rows.list_trials(connection, filled.study_id, sort="value", offset=1, limit=2)
    assert ([trial.number for trial in trials], total) == ([1, 0], 4)


def test_the_values_of_completed_trials(filled: Bench) -> None:
    with filled.service.ledger.read() as connection:
        found = overview_rows.completed_values(connection, [filled.study_id, "none"])
    assert found == {filled.study_id: [0.7, -math.inf], "none": []}


def test_parameters_come_back_as_they_went(service: Service, clock: Clock) -> None:
    parameters = {"learning_rate": {"min": 1e-300, "max": 1}, "max_length": {"min": 4, "max": 512}}
    bench = make_bench(service, clock, parameters=parameters)
    for rate in (1 / 3, 1e-300, 0.1 + 0.2):
        trial = service.lifecycle.enqueue(bench.study_id, {"learning_rate": rate, "max_length": 128}, actor=Actor(), now=clock())
        assert bench.trial(trial.number).params == {"learning_rate": rate, "max_length": 128}
        assert isinstance(bench.trial(trial.number).params["max_length"], int)
