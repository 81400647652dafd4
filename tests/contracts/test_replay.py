"""A study rebuilt from its rows before every call decides exactly as one that lived through them all.

Every sampler and pruner that a study may name is tried here: one that is not in this test is not offered.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from tests.conftest import Clock
from tests.simulation import play, start_study
from tuner.ledger import Ledger
from tuner.service import open_service
from tuner.settings import Settings
from tuner.spec import StudySpec

NUMBERS = {
    "learning_rate": {"min": "1e-6", "max": 1e-3, "log": True},
    "batch_size": {"min": 8, "max": 32, "step": 8},
    "epochs": {"min": 1, "max": 9},
    "frozen_layers": {"min": 0, "max": 6},
}
GRID = {
    "learning_rate": {"values": [1e-5, 1e-4, 1e-3]},
    "epochs": {"values": [3, 9]},
    "frozen_layers": {"min": 0, "max": 6, "step": 3},
    "optimizer": {"values": ["adamw", "sgd"]},
    "momentum": {"values": [0.5, 0.9], "when": {"optimizer": "sgd"}},
}
# Small numbers, so that each sampler is past its start, and has gone through some generations, well before the end.
SAMPLERS: dict[str, dict[str, Any]] = {
    "tpe": {"sampler": {"name": "tpe", "startup_trials": 5}},
    "gp": {"sampler": {"name": "gp", "startup_trials": 12}, "parameters": NUMBERS, "budget": {"trials": 18}},
    "random": {"sampler": {"name": "random"}},
    "grid": {"sampler": {"name": "grid"}, "parameters": GRID},
    "qmc": {"sampler": {"name": "qmc"}},
    "cmaes": {"sampler": {"name": "cmaes", "population": 4}, "parameters": NUMBERS},
    "nsga2": {"sampler": {"name": "nsga2", "population": 4}},
    "nsga3": {"sampler": {"name": "nsga3", "population": 4}},
}
PRUNERS: list[dict[str, Any]] = [
    {"name": "none"},
    {"name": "median", "startup_trials": 3},
    {"name": "percentile", "percentile": 40, "startup_trials": 2},
    {"name": "asha", "promotion": True, "reduction_factor": 2},
    {"name": "asha", "promotion": False},
    {"name": "hyperband", "promotion": True},
    {"name": "hyperband", "promotion": False},
    {"name": "threshold", "lower": 0.25},
    {"name": "patient", "patience": 2, "min_delta": 0.05},
]
# Every sampler with the default pruner, and every pruner with random draws: the two meet only in the rows.
PAIRS = [(sampler, {"name": "asha", "promotion": True, "reduction_factor": 2}) for sampler in SAMPLERS]
PAIRS += [("random", pruner) for pruner in PRUNERS if pruner != PAIRS[0][1]]


def name_of(pair: tuple[str, dict[str, Any]]) -> str:
    sampler, pruner = pair
    return f"{sampler}-{pruner['name']}" + ("-promotion" if pruner.get("promotion") else "")


def decisions(home: Path, sampler: str, pruner: object, *, rebuild: bool, **changes: Any) -> list[tuple[Any, ...]]:
    clock = Clock()
    with open_service(Settings(home=home), clock=clock) as service:
        start_study(service, clock(), **(SAMPLERS[sampler] | {"pruner": pruner} | changes))

        def before_each_call() -> None:
            if rebuild:
                drop_searches(service.ledger)

        return play(service, clock, side_by_side=4, before_each_call=before_each_call)


def drop_searches(ledger: Ledger) -> None:
    """As after a restart: nothing is left in memory."""
    ledger.database.on_rollback()


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    PAIRS,
    ids=[name_of(pair) for pair in PAIRS],
)
def test_a_replayed_study_decides_as_the_live_one(tmp_path: Path, sampler: str, pruner: dict[str, object]) -> None:
    live = decisions(tmp_path / "live", sampler, pruner, rebuild=False)
    replayed = decisions(tmp_path / "replayed", sampler, pruner, rebuild=True)
    assert replayed == live
    endings = {entry[-1] for entry in live if isinstance(entry[-1], str)}
    stops = "released" if pruner.get("promotion") else "pruned"
    assert (stops in endings) == (pruner["name"] != "none"), "a pruner that never prunes proves nothing"
    if pruner.get("promotion") and sampler in ("tpe", "random"):
        assert {entry[2] for entry in live if isinstance(entry[1], dict)} > {None}, "none was taken up from a checkpoint"


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_a_replayed_study_of_several_objectives_decides_as_the_live_one(tmp_path: Path, sampler: str) -> None:
    several = {"objective": [{"metric": "accuracy"}, {"metric": "trained_parameters"}], "budget": {"trials": 18}}
    live = decisions(tmp_path / "live", sampler, {"name": "asha"}, rebuild=False, **several)
    replayed = decisions(tmp_path / "replayed", sampler, {"name": "asha"}, rebuild=True, **several)
    assert replayed == live
    assert {"released", "completed"} <= {entry[-1] for entry in live if isinstance(entry[-1], str)}


def offered(section: str) -> set[str]:
    annotation = StudySpec.model_fields[section].annotation
    return {get_args(member.model_fields["name"].annotation)[0] for member in get_args(annotation)}


def test_nothing_is_offered_that_is_not_tried_here() -> None:
    assert offered("sampler") == set(SAMPLERS)
    assert offered("pruner") == {pruner["name"] for pruner in PRUNERS}
