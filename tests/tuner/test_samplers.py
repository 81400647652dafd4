from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from studies.definition import ParamValue
from studies.space import Choice, FloatRange, IntRange, Space
from tests.conftest import Clock
from tests.simulation import accuracy
from tests.tuner.helpers import make_bench
from tuner.lifecycle import Actor
from tuner.samplers import SAMPLERS, sampler_errors
from tuner.service import Service
from tuner.spec import parse

CELLS = {"epochs": {"min": 1, "max": 3}, "frozen_layers": {"min": 0, "max": 3}, "optimizer": {"values": ["adamw", "sgd"]}}
MIXED: Space = {"rate": FloatRange(min=0.1, max=1.0), "kind": Choice(values=("a", "b"))}
CONDITIONAL: Space = {"size": IntRange(min=1, max=3), "rate": FloatRange(min=0.1, max=1.0, when={"size": (1,)})}


@pytest.fixture
def database_url(tmp_path: Path, sqlite_template: Path) -> str:
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'tuner.db')}"


def run_to_its_end(service: Service, clock: Clock, **changes: Any) -> tuple[list[tuple[Any, ...]], str]:
    """What the study tried, and why it ended."""
    bench = make_bench(service, clock, **({"parameters": CELLS, "budget": {"trials": 60}} | changes))
    while bench.study().state == "running":
        lease = bench.lease()
        bench.finish(lease, accuracy({"learning_rate": 1e-4, **lease.params}, 3))
    return [tuple(sorted(trial.params.items())) for trial in bench.trials()], str(bench.study().reason)


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid", "qmc", "nsga2"])
def test_no_configuration_of_a_finite_space_runs_twice(service: Service, clock: Clock, sampler: str) -> None:
    tried, reason = run_to_its_end(service, clock, sampler={"name": sampler})
    assert len(tried) == len(set(tried)) == 24
    assert reason == "all 24 configurations of the space were tried"


def test_repeats_are_run_if_they_are_asked_for(service: Service, clock: Clock) -> None:
    tried, reason = run_to_its_end(service, clock, sampler={"name": "grid", "repeats": 2})
    assert len(tried) == 48 and {tried.count(one) for one in tried} == {2}
    assert reason.endswith("were tried 2 times")


def test_constraints_cut_the_grid(service: Service, clock: Clock) -> None:
    tried, reason = run_to_its_end(service, clock, sampler={"name": "grid"}, constraints=["epochs + frozen_layers <= 3"])
    assert len(tried) == len(set(tried)) == 12
    assert all(dict(one)["epochs"] + dict(one)["frozen_layers"] <= 3 for one in tried)
    assert reason.startswith("all 12 ")


def test_a_grid_runs_in_the_order_given_or_of_the_seed(service: Service, clock: Clock) -> None:
    given, _ = run_to_its_end(service, clock, sampler={"name": "grid", "order": "given"})
    assert given[0] == (("epochs", 3), ("frozen_layers", 0), ("optimizer", "adamw")), "the untuned default"
    assert given[1:4] == [
        (("epochs", 1), ("frozen_layers", 0), ("optimizer", "adamw")),
        (("epochs", 1), ("frozen_layers", 0), ("optimizer", "sgd")),
        (("epochs", 1), ("frozen_layers", 1), ("optimizer", "adamw")),
    ]
    seeded = [run_to_its_end(service, clock, name=f"s{seed}", seed=seed, sampler={"name": "grid"})[0] for seed in (0, 0, 1)]
    assert seeded[0] == seeded[1] != seeded[2]


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_what_breaks_a_constraint_is_never_handed_out(service: Service, clock: Clock, sampler: str) -> None:
    """Of random points of this space one in a hundred thousand is allowed."""
    constraints = ["learning_rate * batch_size < 1.0e-5", "epochs >= 9", "frozen_layers == 6"]
    bench = make_bench(service, clock, sampler={"name": sampler}, constraints=constraints, budget={"trials": 8})
    for _ in range(8):
        bench.complete(0.5)
    for trial in bench.trials():
        params: Any = trial.params
        assert params["learning_rate"] * params["batch_size"] < 1e-5
        assert (params["epochs"], params["frozen_layers"]) == (9, 6)


def test_given_parameters_are_held_to_the_constraints_and_may_repeat(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, parameters=CELLS, constraints=["epochs >= 2"], budget={"trials": 9})
    params: dict[str, ParamValue] = {"epochs": 2, "frozen_layers": 1, "optimizer": "sgd"}
    for _ in range(2):
        assert service.lifecycle.enqueue(bench.study_id, params, actor=Actor(), now=clock()).params == params
    partly = service.lifecycle.enqueue(bench.study_id, {"frozen_layers": 3}, actor=Actor(), now=clock())
    assert int(str(partly.params["epochs"])) >= 2
    with pytest.raises(Exception, match="breaks the constraint 'epochs >= 2'"):
        service.lifecycle.enqueue(bench.study_id, {"epochs": 1}, actor=Actor(), now=clock())


@pytest.mark.parametrize(
    ("sampler", "space", "words"),
    [
        ("gp", CONDITIONAL, "tpe, random and qmc can"),
        ("cmaes", CONDITIONAL, "tpe, random and qmc can"),
        ("cmaes", MIXED, "use tpe or gp"),
        ("grid", MIXED, "`step` or `values`"),
        ("grid", {"n": IntRange(min=1, max=200_000)}, "larger steps"),
    ],
)
def test_a_sampler_that_cannot_search_the_space_says_what_can(sampler: str, space: Space, words: str) -> None:
    body = {"task": "t", "model": "m", "data": {"train": "d"}, "parameters": {}, "sampler": {"name": sampler}}
    errors = sampler_errors(parse(body).sampler, space)
    assert [error.field for error in errors] == ["sampler.name"]
    assert words in errors[0].message
    assert sampler_errors(parse(body | {"sampler": {"name": "tpe"}}).sampler, space) == []


def test_gp_without_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.samplers.find_spec", lambda name: None)
    body = {"task": "t", "model": "m", "data": {"train": "d"}, "parameters": {}, "sampler": {"name": "gp"}}
    assert "install tuner[train]" in sampler_errors(parse(body).sampler, MIXED)[0].message
    assert len(SAMPLERS) == 8
