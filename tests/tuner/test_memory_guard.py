from __future__ import annotations

import math
import random
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from studies.definition import ParamValue
from tests.simulation import study_body
from tests.tuner.helpers import Bench
from tuner.memory_guard import MemoryGuard
from tuner.records import Study, Trial
from tuner.search import Search
from tuner.spec import parse

BLOCKS = 6
LIMIT = 52e6  # bytes: what the machine of these tests has
PARAMETERS = {
    "learning_rate": {"min": 1e-5, "max": 1e-3, "log": True},
    "batch_size": {"values": [8, 16, 32, 64]},
    "max_length": {"values": [32, 64, 128]},
    "frozen_layers": {"min": 0, "max": BLOCKS},
    "epochs": {"value": 1},
}


@pytest.fixture
def database_url(tmp_path: Path, sqlite_template: Path) -> str:
    """What is tried here is the guard, not the database."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'tuner.db')}"


@pytest.fixture
def ended(bench: Bench) -> Trial:
    return bench.complete(0.5)


@pytest.fixture
def study(bench: Bench) -> Study:
    body = study_body(parameters=PARAMETERS, sampler={"name": "random"}, budget={"trials": 60})
    return replace(bench.study(), spec=parse(body), facts=replace(bench.study().facts, blocks=BLOCKS))


def peak(params: Mapping[str, Any]) -> float:
    """Bytes that training takes at most on the imagined machine."""
    trained = 1 + BLOCKS - params["frozen_layers"]
    return float(20e6 + 1500 * params["batch_size"] * params["max_length"] * trained + 2e6 * trained)


def score(params: Mapping[str, Any]) -> float:
    """Best at a learning rate of 1e-4; longer texts and more trained blocks help."""
    distance = abs(math.log10(params["learning_rate"]) + 4)
    return float(0.9 - 0.2 * distance - 0.01 * params["frozen_layers"] + 0.02 * math.log2(params["max_length"] / 32))


def ending(trial: Trial, number: int, params: Mapping[str, ParamValue], *, told: bool) -> Trial:
    """How a trial ends on the imagined machine. Not `told`: its failure is a riddle, and nobody measures memory."""
    if peak(params) > LIMIT:
        kind = "oom" if told else "code"
        return replace(trial, number=number, params=params, state="failed", value=None, values={}, failure_kind=kind, details={})
    memory = {"memory": {"peak": peak(params), "limit": LIMIT}} if told else {}
    return replace(trial, number=number, params=params, state="completed", value=score(params), details=memory)


def sixty_trials(study: Study, trial: Trial, seed: int, *, told: bool) -> tuple[int, float]:
    """How many of 60 ran out of memory, and the best score."""
    search = Search(replace(study, spec=study.spec.model_copy(update={"seed": seed})), [], {})
    ends = []
    for number in range(60):
        ends.append(ending(trial, number, search.ask(number).params, told=told))
        search.tell(ends[-1])
    return sum(end.state == "failed" for end in ends), max(end.value or 0.0 for end in ends)


def test_few_trials_run_out_of_memory_and_the_best_is_as_good(study: Study, ended: Trial) -> None:
    plain = [sixty_trials(study, ended, seed, told=False) for seed in range(6)]
    guarded = [sixty_trials(study, ended, seed, told=True) for seed in range(6)]
    assert mean(n for n, _ in plain) >= 9
    assert mean(n for n, _ in guarded) <= 3.5
    assert mean(best for _, best in guarded) >= mean(best for _, best in plain) - 0.005


def params(**changes: ParamValue) -> dict[str, ParamValue]:
    return {"learning_rate": 1e-4, "batch_size": 32, "max_length": 64, "frozen_layers": 2} | changes


def guard(*trials: Trial) -> MemoryGuard:
    made = MemoryGuard({"optimizer": "adamw", "accumulation": 1, "precision": "float32"}, BLOCKS)
    for trial in trials:
        made.note(trial)
    return made


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({}, True),
        ({"batch_size": 64}, True),
        ({"max_length": 128, "frozen_layers": 0}, True),
        ({"batch_size": 16}, False),
        ({"batch_size": 64, "max_length": 32}, False),
        ({"frozen_layers": 3}, False),
        ({"accumulation": 2}, False),
        ({"optimizer": "sgd"}, False),
        ({"precision": "bfloat16"}, False),
        ({"learning_rate": 1e-5}, True),
    ],
    ids=str,
)
def test_what_is_at_least_as_hungry_is_refused(ended: Trial, changes: dict[str, ParamValue], refused: bool) -> None:
    failed = replace(ended, params=params(), state="failed", failure_kind="oom", details={})
    assert guard(failed).refuses(params(**changes)) == refused


def test_other_failures_say_nothing_of_memory(ended: Trial) -> None:
    assert not guard(replace(ended, params=params(), state="failed", failure_kind="nan", details={})).refuses(params())


def test_peaks_of_small_trials_foretell_those_of_large_ones(ended: Trial) -> None:
    sizes = [params(batch_size=b, frozen_layers=k, max_length=n) for b in (8, 16) for k in (2, 5) for n in (32, 64)]
    small = [ending(ended, number, given, told=True) for number, given in enumerate(sizes)]
    assert all(trial.state == "completed" for trial in small)
    ready = guard(*small)
    every = [params(batch_size=b, max_length=n, frozen_layers=k) for b in (8, 32, 64) for n in (32, 64, 128) for k in range(7)]
    assert [ready.refuses(given) for given in every] == [peak(given) > LIMIT for given in every]


def test_what_has_fitted_is_not_refused_whatever_the_model_says(ended: Trial) -> None:
    rng = random.Random(0)
    sizes = [params(batch_size=b, max_length=n) for b in (8, 16, 32) for n in (32, 64, 128)]
    trials = [
        replace(ended, params=given, state="completed", details={"memory": {"peak": rng.uniform(20e6, 48e6), "limit": LIMIT}})
        for given in sizes
    ]
    assert not any(guard(*trials).refuses(given) for given in sizes)


def test_a_search_rebuilt_from_rows_refuses_the_same(study: Study, ended: Trial) -> None:
    live, ends = Search(study, [], {}), []
    for number in range(20):
        ends.append(ending(ended, number, live.ask(number).params, told=True))
        live.tell(ends[-1])
    rebuilt = Search(study, ends, {})
    assert [live.ask(number).params for number in range(20, 30)] == [rebuilt.ask(number).params for number in range(20, 30)]


def test_whoever_gives_every_parameter_gets_what_he_wants(study: Study, ended: Trial) -> None:
    hungry: dict[str, ParamValue] = {"learning_rate": 1e-4, "batch_size": 64, "max_length": 128, "frozen_layers": 0}
    search = Search(study, [], {})
    search.tell(ending(ended, 0, search.ask(0, hungry).params, told=True))
    assert search.ask(1, hungry).params == hungry | {"epochs": 1}
