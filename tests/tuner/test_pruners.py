from __future__ import annotations

from typing import Any

import pytest

from studies.errors import InvalidInput
from tests.simulation import study_body
from tuner.spec import check, parse


def wrong(**changes: Any) -> dict[str, str]:
    with pytest.raises(InvalidInput) as refusal:
        check(parse(study_body(**changes)), check_data=False)
    return {error.field: error.message for error in refusal.value.errors}


def epochs(most: object) -> dict[str, Any]:
    return {"learning_rate": {"min": 1e-5, "max": 1e-3}, "epochs": most}


ONE = {"value": 1}
TO_FIVE = {"min": 1, "max": 5}


@pytest.mark.parametrize("name", ["median", "percentile", "asha", "hyperband", "threshold", "patient"])
def test_pruning_without_epochs_to_save_is_refused_with_what_would_work(name: str) -> None:
    pruner = {"name": name} | ({"lower": 0.1} if name == "threshold" else {})
    message = wrong(pruner=pruner, parameters=epochs(ONE))["pruner"]
    assert name in message and "allow more epochs, set eval_every to 0.25, or use {name: none}" in message


def test_a_pruner_that_nobody_asked_for_gives_way_where_it_is_no_use() -> None:
    assert check(parse(study_body(parameters=epochs(ONE))), check_data=False).spec.pruner.name == "none"
    assert check(parse(study_body(parameters=epochs(TO_FIVE))), check_data=False).spec.pruner.name == "asha"


@pytest.mark.parametrize(
    ("pruner", "eval_every", "field", "advice"),
    [
        ({"name": "asha", "min_epochs": 5}, 1, "pruner.min_epochs", "give at most 4, or allow more epochs"),
        ({"name": "asha", "min_epochs": 9}, 1, "pruner.min_epochs", "of at most 5"),
        ({"name": "median", "min_epochs": 0.5}, 1, "pruner.min_epochs", "set eval_every to 0.5"),
        ({"name": "median", "min_epochs": 0.1}, 0.25, "pruner.min_epochs", "give at least 0.25"),
        ({"name": "patient", "patience": 5}, 1, "pruner.patience", "give at most 4"),
        ({"name": "hyperband", "min_epochs": 2, "max_epochs": 1}, 1, "pruner.max_epochs", "at least min_epochs, 2"),
        ({"name": "asha", "metric": "acuracy"}, 1, "pruner.metric", "known: accuracy, loss, macro_f1"),
    ],
)
def test_options_that_could_never_stop_a_trial_are_refused(pruner: object, eval_every: float, field: str, advice: str) -> None:
    found = wrong(pruner=pruner, eval_every=eval_every, parameters=epochs(TO_FIVE))
    assert list(found) == [field]
    assert advice in found[field]


@pytest.mark.parametrize(
    ("pruner", "message"),
    [
        ({"name": "threshold"}, "sets no bound"),
        ({"name": "threshold", "lower": 2, "upper": 1}, "must be below upper"),
    ],
)
def test_a_threshold_has_a_range(pruner: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse(study_body(pruner=pruner))


def test_fractions_of_an_epoch_are_fine_where_trials_report_as_often() -> None:
    spec = check(parse(study_body(pruner={"name": "asha", "min_epochs": 0.25}, eval_every="0.25", parameters=epochs(ONE)))).spec
    assert (spec.pruner.model_dump()["min_epochs"], spec.eval_every) == (0.25, 0.25)


@pytest.mark.parametrize(("most", "laid_out_for"), [(TO_FIVE, 5), ({"values": [2, 7, 3]}, 7), ({"value": 4}, 4)])
def test_hyperband_is_laid_out_for_the_most_epochs_of_the_space(most: object, laid_out_for: float) -> None:
    checked = check(parse(study_body(pruner={"name": "hyperband"}, parameters=epochs(most))), check_data=False)
    assert checked.spec.pruner.model_dump()["max_epochs"] == laid_out_for


def test_without_epochs_in_the_space_the_task_s_default_counts() -> None:
    space = {"learning_rate": {"min": 1e-5, "max": 1e-3}}
    assert "of at most 3" in wrong(pruner={"name": "asha", "min_epochs": 3}, parameters=space)["pruner.min_epochs"]
