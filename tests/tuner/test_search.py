from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from studies.definition import ParamValue
from studies.space import Choice, FloatRange, IntRange, Parameter, nearest_on_grid, on_grid
from tests.conftest import Clock
from tests.simulation import point, study_body
from tests.tuner.helpers import Bench, make_bench
from tuner.errors import StaleLease
from tuner.lifecycle import Actor
from tuner.records import Study
from tuner.search import Search, draw_seed, ending_of, importances, resource
from tuner.service import Service
from tuner.spec import parse


@pytest.fixture
def database_url(tmp_path: Path, sqlite_template: Path) -> str:
    """What is tried here is the search, not the database."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'tuner.db')}"


def fresh_study(bench: Bench, **changes: Any) -> Study:
    return replace(bench.study(), spec=parse(study_body(**changes)))


def test_draws_differ_by_study_seed_and_number_and_repeat() -> None:
    seeds = {draw_seed(study_seed, number) for study_seed in range(20) for number in range(20)}
    assert len(seeds) == 400
    assert draw_seed(3, 4) == draw_seed(3, 4)
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_what_is_given_is_taken_and_the_rest_is_drawn(bench: Bench) -> None:
    search = Search(fresh_study(bench), [], {})
    params = search.ask(0, {"learning_rate": 3e-4, "batch_size": 16, "optimizer": "sgd"}).params
    assert (params["learning_rate"], params["batch_size"], params["optimizer"]) == (3e-4, 16, "sgd")
    assert params["weight_decay"] == 0.01, "fixed"
    assert 0.5 <= float(str(params["momentum"])) <= 0.99


def test_a_conditional_parameter_exists_only_under_its_condition(bench: Bench) -> None:
    search = Search(fresh_study(bench, sampler={"name": "random"}), [], {})
    drawn = [search.ask(number).params for number in range(30)]
    assert {params["optimizer"] for params in drawn} == {"adamw", "sgd"}
    assert all(("momentum" in params) == (params["optimizer"] == "sgd") for params in drawn)


def test_a_number_that_is_not_the_next_is_a_mistake(bench: Bench) -> None:
    with pytest.raises(RuntimeError, match="the next one is 0"):
        Search(fresh_study(bench), [], {}).ask(1)


@pytest.mark.parametrize(
    ("parameter", "value", "nearest"),
    [
        (IntRange(min=1, max=4, step=2), 4, 3),
        (IntRange(min=1, max=4, step=2), 1.0, 1),
        (IntRange(min=1, max=9), 3.0, 3),
        (FloatRange(min=0.0, max=1.0), 1, 1.0),
        (FloatRange(min=0.0, max=0.3, step=0.1), 0.3, 0.3),
        (FloatRange(min=0.0, max=1.0, step=0.4), 1.0, 0.8),
        (Choice(values=("a", "b")), "a", "a"),
        (Choice(values=(None, 1)), None, None),
    ],
)
def test_a_value_is_moved_to_the_closest_step(parameter: Parameter, value: ParamValue, nearest: ParamValue) -> None:
    found = nearest_on_grid(parameter, value)
    assert (found, type(found)) == (nearest, type(nearest))
    assert on_grid(parameter, found)


def test_a_value_between_two_steps_is_not_on_the_grid() -> None:
    assert on_grid(FloatRange(min=0.0, max=1.0, step=0.1), 0.3)
    assert not on_grid(FloatRange(min=0.0, max=1.0, step=0.1), 0.35)
    assert not on_grid(IntRange(min=1, max=9, step=2), 4)
    assert on_grid(FloatRange(min=0.0, max=1.0), 0.123)


def test_steps_that_do_not_meet_the_end_of_the_range_are_fine(service: Service, clock: Clock) -> None:
    parameters = {
        "batch_size": {"min": 1, "max": 6, "step": 2},
        "warmup_ratio": {"min": 0.0, "max": 0.5, "step": 0.2},
        "dropout": {"min": 0.0, "max": 0.3, "step": 0.1},
    }
    bench = make_bench(service, clock, parameters=parameters, budget={"trials": 12}, sampler={"name": "tpe", "startup_trials": 3})
    for _ in range(12):
        service.ledger.database.on_rollback()
        bench.complete(0.5)
    drawn = [trial.params for trial in bench.trials()]
    assert {params["batch_size"] for params in drawn} <= {1, 3, 5}
    assert all(min(abs(float(str(p["warmup_ratio"])) - step) for step in (0.0, 0.2, 0.4)) < 1e-9 for p in drawn)
    assert drawn[0] == {"batch_size": 5, "warmup_ratio": 0.0, "dropout": 0.0}, "the default, moved onto the steps"


def test_a_pruner_counts_epochs_or_else_steps() -> None:
    assert resource(point(3, 0.5)) == 3
    assert resource(replace(point(3, 0.5), epoch=None)) == 30
    assert resource(replace(point(3, 0.5), epoch=2.9)) == 2.9


@pytest.mark.parametrize("value", [0.5, 1e300])
@pytest.mark.parametrize("completed", [0, 1, 2, 3, 12])
def test_importances_are_shares_of_what_was_searched(service: Service, clock: Clock, completed: int, value: float) -> None:
    bench = make_bench(service, clock)
    for number in range(completed):
        bench.complete(value * number)
    found = importances(bench.study(), bench.trials())
    assert bool(found) is (completed >= 2)
    assert "weight_decay" not in found
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert not found or math.isclose(sum(found.values()), 1.0) or set(found.values()) == {0.0}


def test_importances_bear_equal_and_infinite_values(bench: Bench) -> None:
    for value in (0.5, 0.5, 0.5):
        bench.complete(value)
    equal = importances(bench.study(), bench.trials())
    bench.complete(-math.inf)
    infinite = importances(bench.study(), bench.trials())
    assert all(math.isfinite(share) for share in [*equal.values(), *infinite.values()])


def test_a_configuration_that_ran_out_of_memory_is_remembered_as_bad(bench: Bench) -> None:
    lease = bench.lease()
    bench.fail(lease, "oom")
    # As a failed one it would be forgotten, and drawn again.
    assert ending_of(bench.trial(0)) == (TrialState.PRUNED, None)


def test_a_refused_write_forgets_no_search(bench: Bench) -> None:
    bench.lease()
    remembered = dict(bench.service.ledger.searches)
    with pytest.raises(StaleLease):
        bench.service.manager.heartbeat("nonsense", now=bench.clock())
    assert bench.service.ledger.searches == remembered != {}


def test_a_deleted_study_takes_nothing_of_the_next_one_along(bench: Bench) -> None:
    bench.complete(0.5)
    bench.service.lifecycle.stop(bench.study_id, actor=Actor(), now=bench.clock())
    bench.service.lifecycle.delete(bench.study_id, actor=Actor(), now=bench.clock())
    assert make_bench(bench.service, bench.clock).lease().trial == 0
