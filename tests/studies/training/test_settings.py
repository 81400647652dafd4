from __future__ import annotations

from dataclasses import asdict

import pytest

from studies.errors import TrialFailure
from studies.text_classification import DEFINITION
from studies.training.settings import settings_of


def test_settings_are_the_hyperparameters_of_the_catalog() -> None:
    assert asdict(settings_of(DEFINITION.completed({}))) == DEFINITION.completed({}) | {"own": {}}


def test_what_only_one_task_understands_is_kept_apart() -> None:
    assert settings_of(DEFINITION.completed({"image_size": 28})).own == {"image_size": 28}


def test_whole_numbers_may_come_as_floats() -> None:
    epochs = settings_of(DEFINITION.completed({"epochs": 3.0})).epochs
    assert (epochs, type(epochs)) == (3, int)


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(TrialFailure, match="not given: epochs, momentum"):
        settings_of({name: value for name, value in DEFINITION.completed({}).items() if name not in ("epochs", "momentum")})
