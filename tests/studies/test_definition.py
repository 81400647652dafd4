from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from studies.definition import DataSpec, Job
from studies.errors import TrialFailure
from studies.text_classification import DEFINITION


def test_completed_fills_in_defaults_and_keeps_what_is_given() -> None:
    completed = DEFINITION.completed({"batch_size": 64})
    assert completed["batch_size"] == 64
    assert set(completed) == {entry.name for entry in DEFINITION.hyperparameters}


def test_hyperparameters_are_found_by_name() -> None:
    entry = DEFINITION.hyperparameter("learning_rate")
    assert entry is not None and entry.name == "learning_rate"
    assert DEFINITION.hyperparameter("lr") is None


def test_a_job_is_completed_and_a_parameter_of_other_code_refused() -> None:
    job = Job(
        task=DEFINITION.task,
        model="",
        data=DataSpec(train=""),
        metric="accuracy",
        direction="maximize",
        params={"epochs": 7},
        data_seed=0,
        seed=0,
        fingerprint=None,
        device="cpu",
        threads=1,
        folder=Path(),
    )
    assert DEFINITION.complete(job).params == DEFINITION.completed({"epochs": 7})
    with pytest.raises(TrialFailure, match="text-classification knows no parameter eopchs") as caught:
        DEFINITION.complete(replace(job, params={"eopchs": 7}))
    assert caught.value.kind == "code"
