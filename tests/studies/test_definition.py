from __future__ import annotations

from studies.text_classification import DEFINITION


def test_completed_fills_in_defaults_and_keeps_what_is_given() -> None:
    completed = DEFINITION.completed({"batch_size": 64})
    assert completed["batch_size"] == 64
    assert set(completed) == {entry.name for entry in DEFINITION.hyperparameters}


def test_hyperparameters_are_found_by_name() -> None:
    entry = DEFINITION.hyperparameter("learning_rate")
    assert entry is not None and entry.name == "learning_rate"
    assert DEFINITION.hyperparameter("lr") is None
