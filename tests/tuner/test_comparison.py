from __future__ import annotations

import math

from tests.api.dashboard.factories import a_study, a_trial
from tuner.comparison import compare_studies, compare_trials, flat, side_by_side


def test_what_differs_is_marked_and_what_is_missing_is_no_null() -> None:
    rows = {row.name: row for row in side_by_side([{"a": 1, "b": None, "c": 3}, {"a": 1, "b": None}])}
    assert not rows["a"].differs
    assert not rows["b"].differs
    assert rows["c"].differs
    assert (rows["c"].values, rows["c"].present) == ([3, None], [True, False])


def test_nan_is_the_same_as_nan_and_true_is_not_one() -> None:
    rows = {row.name: row for row in side_by_side([{"a": math.nan, "b": True}, {"a": math.nan, "b": 1}])}
    assert (rows["a"].differs, rows["b"].differs) == (False, True)


def test_parameters_come_in_the_order_of_the_study_file() -> None:
    trials = [a_trial(1, params={"optimizer": "adamw", "epochs": 2, "learning_rate": 1e-4}, value=0.5), a_trial(2, value=0.6)]
    compared = compare_trials(a_study(), trials, {})
    assert [row.name for row in compared.parameters][:2] == ["learning_rate", "batch_size"]
    assert [row.values for row in compared.metrics] == [[0.5, 0.6]]
    assert {row.name: row.differs for row in compared.environment} == {"seed": False}


def test_settings_of_studies_are_dotted_paths() -> None:
    rows = {row.name: row for row in compare_studies([a_study(), a_study(direction="minimize")])}
    assert rows["objective.direction"].differs
    assert not rows["parameters.learning_rate.min"].differs
    assert "name" not in rows


def test_flat_keeps_lists_whole() -> None:
    assert flat({"a": {"b": 1, "c": [1, {"d": 2}]}}) == {"a.b": 1, "a.c": [1, {"d": 2}]}
