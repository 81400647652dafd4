from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from studies.errors import InvalidInput
from tests.conftest import Clock
from tests.simulation import point
from tests.tuner.helpers import Bench, make_bench
from tuner.db import metric_rows
from tuner.lifecycle import Actor
from tuner.manager import Ending
from tuner.search_exchange import optuna_file, read_study
from tuner.service import Service


@pytest.fixture
def database_url(tmp_path: Path, sqlite_template: Path) -> str:
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'tuner.db')}"


@pytest.fixture
def lived(service: Service, clock: Clock) -> Bench:
    """A study with a trial in every state, and a category that its space has no more."""
    bench = make_bench(service, clock, parallelism=8)
    for value in (0.5, math.inf):
        lease = bench.lease()
        for epoch in (1, 2):
            bench.report(lease, epoch, value / (3 - epoch))
        service.manager.report(lease.id, [replace(point(2, 0.7), name="loss", split="train")], now=clock())
        service.manager.finish(lease.id, Ending(state="completed", values={"accuracy": value, "loss": 0.1}), now=clock())
    bench.fail(bench.lease(), "oom", "out of memory")
    stopped = bench.lease()
    bench.report(stopped, 1, 0.25)
    service.lifecycle.stop_trial(bench.study_id, stopped.trial, actor=Actor(), now=clock())
    bench.report(bench.lease(), 1, 0.125)
    changes = {"parameters": {"batch_size": {"values": [64]}, "learning_rate": {"min": 1e-5, "max": 1e-4, "log": True}}}
    service.lifecycle.change_study(bench.study_id, changes, version=None, actor=Actor(), now=clock())
    service.lifecycle.enqueue(bench.study_id, {}, actor=Actor(), now=clock())
    return bench


@pytest.fixture
def url(lived: Bench, tmp_path: Path) -> Iterator[str]:
    with lived.service.ledger.read() as connection:
        metrics = metric_rows.metrics_of_study(connection, lived.study_id)
    (tmp_path / "out.db").write_bytes(optuna_file(lived.study(), lived.trials(), metrics))
    yield f"sqlite:///{tmp_path / 'out.db'}"


def test_optuna_opens_the_file_with_every_trial_state_and_intermediate_value(lived: Bench, url: str) -> None:
    study = optuna.load_study(study_name="simulated", storage=url)
    trials = study.get_trials()
    assert [trial.state for trial in trials] == [
        TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED, TrialState.RUNNING, TrialState.WAITING,
    ]  # fmt: skip
    assert [trial.params for trial in trials] == [trial.params for trial in lived.trials()]
    assert [trial.values for trial in trials] == [[0.5], [math.inf], None, [0.25], None, None]
    assert [trial.intermediate_values for trial in trials] == [
        {1: 0.25, 2: 0.5}, {1: math.inf, 2: math.inf}, {}, {1: 0.25}, {1: 0.125}, {},
    ]  # fmt: skip
    assert (study.direction.name, study.metric_names, study.best_trial.number) == ("MAXIMIZE", ["accuracy"], 1)
    # A live study: more can be asked of it, told to it and drawn from it.
    assert study.ask().number == 5, "the one that waits"
    study.tell(study.ask({"epochs": IntDistribution(1, 9)}), 0.75)
    assert len(study.get_trials()) == 7


def test_what_was_exported_is_read_back_whole(lived: Bench, url: str) -> None:
    found = read_study(url)
    ours = lived.trials()
    assert found["spec"] == lived.study().spec.model_dump(mode="json")
    assert [trial["params"] for trial in found["trials"]] == [dict(trial.params) for trial in ours]
    assert [trial["state"] for trial in found["trials"]] == ["completed", "completed", "failed", "stopped", "stopped", "stopped"]
    assert [trial["value"] for trial in found["trials"]] == [0.5, "inf", None, 0.25, 0.125, None]
    assert found["trials"][1]["values"] == {"accuracy": "inf", "loss": 0.1}
    assert {"split": "train", "name": "loss", "step": 20, "epoch": 2.0, "value": 0.7} in found["trials"][0]["metrics"]
    assert found["trials"][2]["failure_kind"] == "oom"
    assert found["trials"][4]["reason"] == "was RUNNING when it was imported"


def test_a_foreign_study_is_read(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'theirs.db'}"
    study = optuna.create_study(storage=url, study_name="theirs", direction="minimize")
    distributions = {
        "learning_rate": FloatDistribution(1e-6, 1, log=True),
        "optimizer": CategoricalDistribution(["sgd", "adamw"]),
    }
    params = {"learning_rate": 1e-3, "optimizer": "sgd"}
    for state, value in ((TrialState.COMPLETE, 0.5), (TrialState.PRUNED, None), (TrialState.FAIL, None)):
        study.add_trial(
            optuna.trial.create_trial(
                state=state, value=value, params=params, distributions=distributions, intermediate_values={1: 0.9, 2: math.nan}
            )
        )
    found = read_study(url)
    assert (found["name"], found["spec"], found["direction"]) == ("theirs", None, "minimize")
    assert [(trial["state"], trial["value"]) for trial in found["trials"]] == [
        ("completed", 0.5),
        ("pruned", "nan"),
        ("failed", "nan"),
    ]
    assert found["trials"][0]["metrics"][0] == {"split": "validation", "name": None, "step": 1, "epoch": 1, "value": 0.9}
    optuna.create_study(storage=url, study_name="other")
    for name in (None, "third"):
        with pytest.raises(InvalidInput, match="other, theirs"):
            read_study(url, name)
