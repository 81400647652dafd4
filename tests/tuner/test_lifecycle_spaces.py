"""A live study's space is edited: each trial keeps the version it was drawn under, older ones inform the sampler, and a
search rebuilt from rows before every call decides as the live one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from studies.errors import InvalidInput
from tests.conftest import Clock
from tests.simulation import accuracy
from tests.tuner.helpers import Bench, make_bench
from tuner.db.space_rows import spaces_of
from tuner.lifecycle import Actor
from tuner.service import Service, open_service
from tuner.settings import Settings

EDITS: tuple[dict[str, Any], ...] = (
    {"learning_rate": {"min": 1e-5, "max": 1e-2, "log": True}},  # another range
    {"optimizer": {"values": ["adam", "adamw"]}, "momentum": None},  # a new category, one less, a parameter less
    {"warmup_ratio": {"min": 0.0, "max": 0.5}, "weight_decay": {"values": [0.0, 0.01]}},  # a new one; a fixed one is searched
)


def edit(bench: Bench, **changes: Any) -> None:
    bench.service.lifecycle.change_study(bench.study_id, changes, version=None, actor=Actor(), now=bench.clock())


def work(bench: Bench, trials: int, *, rebuild: bool) -> None:
    for _ in range(trials):
        if rebuild:
            bench.service.ledger.database.on_rollback()
        lease = bench.lease()
        bench.finish(lease, accuracy(lease.params, 3))


@pytest.fixture
def database_url(tmp_path: Path, sqlite_template: Path) -> str:
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'tuner.db')}"


@pytest.mark.parametrize("sampler", ["tpe", "qmc", "nsga2"])
def test_an_edited_study_is_replayed_as_it_lived(tmp_path: Path, sqlite_template: Path, sampler: str) -> None:
    lived = []
    options: dict[str, Any] = {"tpe": {"startup_trials": 4}, "nsga2": {"population": 4}}.get(sampler, {})
    for rebuild in (False, True):
        clock = Clock()
        database = shutil.copy(sqlite_template, tmp_path / f"{rebuild}.db")
        with open_service(Settings(home=tmp_path / str(rebuild), database_url=f"sqlite:///{database}"), clock=clock) as service:
            bench = make_bench(service, clock, sampler={"name": sampler, **options})
            work(bench, 7, rebuild=rebuild)
            running = bench.lease()
            for changes in EDITS:
                edit(bench, parameters=changes)
                work(bench, 4, rebuild=rebuild)
            bench.report(running, 1, 0.5)
            bench.finish(running, 0.5)
            lived.append([(trial.params, trial.space_version, trial.state, trial.value) for trial in bench.trials()])
    assert lived[0] == lived[1]
    assert [version for _, version, _, _ in lived[0]] == [1] * 8 + [2] * 4 + [3] * 4 + [4] * 4


def test_every_version_is_kept(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock)
    for changes in EDITS:
        edit(bench, parameters=changes)
    edit(bench, constraints=["epochs <= 5"])
    with service.ledger.read() as connection:
        spaces = spaces_of(connection, bench.study_id)
    assert [space.version for space in spaces] == [1, 2, 3, 4, 5]
    assert "momentum" in spaces[1].parameters and "momentum" not in spaces[2].parameters
    assert (spaces[3].constraints, spaces[4].constraints) == ((), ("epochs <= 5",))
    assert bench.study().space_version == 5
    assert set(bench.study().spec.parameters) == {
        "learning_rate", "batch_size", "epochs", "frozen_layers", "optimizer", "weight_decay", "warmup_ratio",
    }  # fmt: skip


def test_older_trials_inform_the_sampler_after_an_edit(service: Service, clock: Clock) -> None:
    """Sixteen trials say that small rates are good; after an edit that leaves them in the space, TPE goes on from there."""
    space = {"learning_rate": {"min": 1e-6, "max": 1e-2, "log": True}, "epochs": {"min": 1, "max": 9}}
    bench = make_bench(service, clock, parameters=space, sampler={"name": "tpe", "startup_trials": 10}, budget={"trials": 60})
    for _ in range(20):
        lease = bench.lease()
        bench.finish(lease, -abs(float(str(lease.params["learning_rate"])) - 3e-6) * 1e6)
    edit(bench, parameters={"optimizer": {"values": ["adamw", "sgd"]}, "epochs": {"min": 1, "max": 20}})
    drawn = []
    for _ in range(8):
        lease = bench.lease()
        drawn.append(float(str(lease.params["learning_rate"])))
        bench.finish(lease, 0.0)
    assert sorted(drawn)[len(drawn) // 2] < 3e-5, "a new start would draw at random, half of it above 1e-4"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"parameters": {"learning_rate": {"min": 2, "max": 1}}}, "parameters.learning_rate.min"),
        ({"parameters": {"optimizer": None}}, "parameters.momentum.when.optimizer"),
        ({"parameters": {"nonsense": {"value": 1}}}, "parameters.nonsense"),
        ({"constraints": ["epochs > 100"]}, "constraints"),
        ({"constraints": ["epoch > 100"]}, "constraints[0]"),
    ],
)
def test_a_wrong_edit_changes_nothing(service: Service, clock: Clock, changes: dict[str, Any], field: str) -> None:
    bench = make_bench(service, clock)
    before = bench.study()
    with pytest.raises(InvalidInput) as refusal:
        edit(bench, **changes)
    assert refusal.value.errors[0].field == field
    assert bench.study() == before
