from __future__ import annotations

from dataclasses import asdict

import pytest

from studies.errors import TrialFailure
from studies.text_classification import DEFINITION
from studies.training.settings import settings_of


def test_settings_are_the_hyperparameters_of_the_catalog() -> None:
    assert asdict(settings_of(DEFINITION.completed({}))) == DEFINITION.completed({})


def test_whole_numbers_may_come_as_floats() -> None:
    epochs = settings_of(DEFINITION.completed({"epochs": 3.0})).epochs
    assert (epochs, type(epochs)) == (3, int)


def test_parameters_of_another_version_are_refused() -> None:
    with pytest.raises(TrialFailure, match="other parameters than the study was checked with: lora_rank"):
        settings_of(DEFINITION.completed({"lora_rank": 8}))
