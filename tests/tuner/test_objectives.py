"""Several objectives: checked at the start, known of every completed trial, and answered as a Pareto set."""

from __future__ import annotations

from typing import Any

import pytest

from studies.errors import InvalidInput
from tests.conftest import Clock
from tests.simulation import study_body
from tests.tuner.helpers import Bench, make_bench
from tuner.manager import Ending
from tuner.objectives import pareto_set
from tuner.overview import best_of, pareto_of
from tuner.search import Search
from tuner.service import Service
from tuner.spec import check, objectives_of, parse

BOTH = [{"metric": "accuracy"}, {"metric": "trained_parameters"}]


def several(service: Service, clock: Clock, **changes: Any) -> Bench:
    return make_bench(service, clock, objective=BOTH, **changes)


def end(bench: Bench, accuracy: float, parameters: int) -> None:
    ending = Ending(state="completed", values={"accuracy": accuracy}, details={"trained_parameters": parameters})
    bench.service.manager.finish(bench.lease().id, ending, now=bench.clock())


def wrong(**changes: Any) -> dict[str, str]:
    with pytest.raises(InvalidInput) as refusal:
        check(parse(study_body(**changes)), check_data=False)
    return {error.field: error.message for error in refusal.value.errors}


def test_a_list_is_the_leading_objective_and_the_others() -> None:
    spec = check(parse(study_body(objective=[*BOTH, {"metric": "loss"}])), check_data=False).spec
    assert [(o.metric, o.direction) for o in objectives_of(spec)] == [
        ("accuracy", "maximize"),
        ("trained_parameters", "minimize"),
        ("loss", "minimize"),
    ]
    assert parse(spec.model_dump(mode="json")) == spec, "an answer is a study file too"


@pytest.mark.parametrize(
    ("objective", "field", "advice"),
    [
        ([{"metric": "accuracy"}], "objective", "a list of 2 or 3"),
        ([{"metric": "accuracy"}] * 4, "objective", "a list of 2 or 3"),
        ([{"metric": "accuracy"}, {"metric": "speed"}], "objective.1.metric", "known: accuracy, latency_seconds, loss"),
        ([{"metric": "accuracy"}, {"metric": "accuracy"}], "objective.1.metric", "name another"),
        ([{"metric": "accuracy"}, {"metrik": "loss"}], "objective.1.metric", "is missing"),
        ([{"metric": "train_seconds"}, {"metric": "accuracy"}], "objective.metric", "known: accuracy"),
    ],
)
def test_what_is_no_objective_is_refused(objective: object, field: str, advice: str) -> None:
    assert advice in wrong(objective=objective)[field]


@pytest.mark.parametrize("sampler", ["gp", "cmaes"])
def test_a_sampler_of_one_objective_is_refused_with_those_that_can(sampler: str) -> None:
    numbers = {"learning_rate": {"min": 1e-5, "max": 1e-3}}
    assert "nsga2" in wrong(objective=BOTH, sampler={"name": sampler}, parameters=numbers)["sampler.name"]


def test_the_best_are_those_that_no_other_trial_beats(service: Service, clock: Clock) -> None:
    bench = several(service, clock)
    for accuracy, parameters in [(0.5, 100), (0.8, 900), (0.7, 300), (0.6, 400), (0.8, 800), (0.5, 100)]:
        end(bench, accuracy, parameters)
    with service.ledger.read() as connection:
        front, best = pareto_of(connection, bench.study()), best_of(connection, bench.study())
    assert [trial.number for trial in front] == [4, 2, 0, 5]
    assert best is not None and best.number == 4, "of equals in accuracy the smaller one"
    assert best.values == {"accuracy": 0.8, "trained_parameters": 800.0}


def test_costs_come_from_what_the_worker_tells_or_from_its_time(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, objective=[{"metric": "accuracy"}, {"metric": "train_seconds"}])
    told, timed, named = bench.lease(), bench.lease(), bench.lease()
    clock.forward(30)
    values = {"accuracy": 0.5}
    service.manager.finish(told.id, Ending(state="completed", values=values, details={"seconds": {"train": 7.5}}), now=clock())
    service.manager.finish(timed.id, Ending(state="completed", values=values), now=clock())
    service.manager.finish(named.id, Ending(state="completed", values=values | {"train_seconds": 3.0}), now=clock())
    assert [bench.trial(number).values["train_seconds"] for number in range(3)] == [7.5, 30.0, 3.0]


def test_a_trial_without_one_of_its_objectives_does_not_complete(service: Service, clock: Clock) -> None:
    bench = several(service, clock)
    lease = bench.lease()
    with pytest.raises(InvalidInput, match="values.trained_parameters"):
        bench.finish(lease, 0.5)
    assert bench.trial(0).state == "running"


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "nsga3", "random", "qmc"])
def test_every_sampler_that_is_not_refused_searches_and_prunes(service: Service, clock: Clock, sampler: str) -> None:
    options = {"startup_trials": 3} if sampler == "tpe" else {"population": 4} if sampler.startswith("nsga") else {}
    pruner = {"name": "asha", "promotion": False}
    bench = several(service, clock, sampler={"name": sampler, **options}, pruner=pruner, budget={"trials": 14})
    for number in range(14):
        lease = bench.lease()
        epochs = int(str(lease.params["epochs"]))
        if not bench.report(lease, 1, 0.9 - number / 100).stop or epochs == 1:
            end_of = Ending(state="completed", values={"accuracy": 0.9}, details={"trained_parameters": 10 + number % 3})
            service.manager.finish(lease.id, end_of, now=clock())
    states = {trial.state for trial in bench.trials()}
    assert states == {"completed", "pruned"}
    assert pareto_set(bench.study().spec, bench.trials())
    assert Search(bench.study(), bench.trials(), {}).ask(14).params
