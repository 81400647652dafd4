from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studies.catalog import definition as catalog_definition
from studies.errors import InvalidInput
from studies.models import ModelFacts
from studies.space import Fixed
from tests.simulation import study_body
from tuner.spec import check, data_spec, direction_of, facts_of, objective_of, parse

NUL, SURROGATE = "a\0b", "a\ud800b"


def wrong_fields(raw: object) -> dict[str, str]:
    with pytest.raises(InvalidInput) as refusal:
        parse(raw)
    return {error.field: error.message for error in refusal.value.errors}


def wrong_after_check(**changes: Any) -> dict[str, str]:
    with pytest.raises(InvalidInput) as refusal:
        check(parse(study_body(**changes)))
    return {error.field: error.message for error in refusal.value.errors}


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    file = tmp_path / "texts.csv"
    file.write_text("text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(40)))
    return file


# ---- shape


def test_everything_but_task_model_data_and_parameters_has_a_default() -> None:
    body = study_body()
    spec = parse({key: body[key] for key in ("task", "model", "data", "parameters")})
    assert (spec.sampler.name, spec.pruner.name, spec.budget.trials, spec.parallelism, spec.retries) == ("tpe", "asha", 50, 4, 2)
    assert set(wrong_fields({})) == {"task", "model", "data", "parameters"}


@pytest.mark.parametrize("raw", [None, [], "text", 3])
def test_a_study_is_an_object(raw: object) -> None:
    assert "an object with the keys" in wrong_fields(raw)[""]


@pytest.mark.parametrize(
    ("changes", "field", "known_names"),
    [
        ({"trials": 5}, "trials", ("budget", "task")),
        ({"data": {"train": "x", "tain": "y"}}, "data.tain", ("train", "validation", "limit")),
        ({"budget": {"trails": 3}}, "budget.trails", ("trials", "hours")),
        ({"objective": {"metrik": "accuracy"}}, "objective.metrik", ("metric", "direction")),
        ({"resources": {"gpu": 1}}, "resources.gpu", ("gpus",)),
        ({"sampler": {"name": "tpe", "startup": 1}}, "sampler.startup", ("startup_trials",)),
        ({"pruner": {"name": "asha", "factor": 2}}, "pruner.factor", ("min_epochs", "reduction_factor")),
        ({"pruner": {"name": "none", "min_epochs": 2}}, "pruner.min_epochs", ("name",)),
        ({"sampler": {"name": "magic"}}, "sampler.name", ("tpe", "random")),
        ({"sampler": {}}, "sampler.name", ("tpe", "random")),
        ({"pruner": {"name": "magic"}}, "pruner.name", ("asha", "median", "none")),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(changes: dict[str, Any], field: str, known_names: Sequence[str]) -> None:
    message = wrong_fields(study_body(**changes))[field]
    assert "known: " in message
    assert set(known_names) <= set(message.partition("known: ")[2].split(", "))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"parallelism": 0}, "parallelism"),
        ({"parallelism": True}, "parallelism"),
        ({"parallelism": 1.5}, "parallelism"),
        ({"seed": -1}, "seed"),
        ({"retries": "many"}, "retries"),
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": NUL}, "name"),
        ({"notes": SURROGATE}, "notes"),
        ({"tags": {"a": NUL}}, "tags.a"),
        ({"tags": {NUL: "a"}}, f"tags.{NUL}"),
        ({"task": None}, "task"),
        ({"data": "builtin:trec"}, "data"),
        ({"data": {"train": "x", "limit": 0}}, "data.limit"),
        ({"data": {"train": "x", "limit": True}}, "data.limit"),
        ({"data": {"train": NUL}}, "data.train"),
        ({"data": {"train": "x", "validation": math.nan}}, "data.validation"),
        ({"data": {"train": "x", "validation": True}}, "data.validation"),
        ({"data": {"train": "x", "validation": ["a"]}}, "data.validation"),
        ({"data": {"train": "x", "columns": {"text": 5}}}, "data.columns.text"),
        ({"objective": "accuracy"}, "objective"),
        ({"objective": [{"metric": "accuracy"}]}, "objective"),
        ({"objective": {"metric": "accuracy", "direction": "up"}}, "objective.direction"),
        ({"parameters": []}, "parameters"),
        ({"parameters": "all"}, "parameters"),
        ({"constraints": "batch_size < 8"}, "constraints"),
        ({"sampler": "tpe"}, "sampler"),
        ({"sampler": {"name": "tpe", "startup_trials": True}}, "sampler.startup_trials"),
        ({"pruner": {"name": "asha", "reduction_factor": 1}}, "pruner.reduction_factor"),
        ({"budget": {"trials": 0}}, "budget.trials"),
        ({"budget": {"hours": 0}}, "budget.hours"),
        ({"budget": {"hours": math.inf}}, "budget.hours"),
        ({"budget": {"target": math.nan}}, "budget.target"),
        ({"budget": {"trials": None}}, "budget"),
        ({"budget": None}, "budget"),
        ({"resources": {"gpus": "many"}}, "resources.gpus"),
        ({"resources": {"gpus": -1}}, "resources.gpus"),
    ],
)
def test_a_wrong_value_is_one_message_that_names_the_field(changes: dict[str, Any], field: str) -> None:
    wrong = wrong_fields(study_body(**changes))
    assert list(wrong) == [field]
    assert wrong[field]


def test_every_wrong_field_is_told_at_once() -> None:
    wrong = wrong_fields(study_body(parallelism=0, seed=-1, unknown=1, data={"trian": "x"}, pruner={"name": "magic"}))
    assert set(wrong) == {"parallelism", "seed", "unknown", "data.train", "data.trian", "pruner.name"}


def test_numbers_that_yaml_reads_as_text_are_numbers() -> None:
    spec = parse(
        study_body(
            parallelism="3",
            budget={"trials": "1e2", "target": "9e-1"},
            data={"train": "x", "validation": "1e-1", "test": "2e-1"},
            resources={"gpus": "2"},
            pruner={"name": "asha", "min_epochs": "2"},
        )
    )
    assert (spec.parallelism, spec.budget.trials, spec.budget.target, spec.resources.gpus) == (3, 100, 0.9, 2)
    assert (spec.data.validation, spec.data.test) == (0.1, 0.2)


def test_a_spec_survives_json() -> None:
    spec = parse(study_body(tags={"a": "é"}, budget={"trials": None, "hours": 0.1}))
    assert parse(spec.model_dump(mode="json")) == spec


# ---- sense


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"learning_rat": {"min": 1e-6, "max": 1e-3}}, "parameters.learning_rat"),
        ({"learning_rate": {"min": 1e-3, "max": 1e-6}}, "parameters.learning_rate.min"),
        ({"learning_rate": {"min": 0, "max": 1e-3, "log": True}}, "parameters.learning_rate.min"),
        ({"learning_rate": {"min": math.nan, "max": 1e-3}}, "parameters.learning_rate.min"),
        ({"learning_rate": {"min": 1e-6, "max": math.inf}}, "parameters.learning_rate.max"),
        ({"learning_rate": {"min": 1e-6}}, "parameters.learning_rate.max"),
        ({"learning_rate": {"mni": 1e-6, "max": 1e-3}}, "parameters.learning_rate.mni"),
        ({"learning_rate": 1e-3}, "parameters.learning_rate"),
        ({"batch_size": {"values": []}}, "parameters.batch_size.values"),
        ({"batch_size": {"values": [8, -1]}}, "parameters.batch_size.values[1]"),
        ({"epochs": {"min": 1.5, "max": 3}}, "parameters.epochs.min"),
        ({"frozen_layers": {"min": 0, "max": 99}}, "parameters.frozen_layers.max"),
        ({"max_length": {"values": [128, 513]}}, "parameters.max_length"),
        ({"optimizer": {"values": ["adamw", "lion"]}}, "parameters.optimizer.values[1]"),
        ({"learning_rate": {"value": 1e-3}}, "parameters"),
        ({}, "parameters"),
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict[str, Any], field: str) -> None:
    assert field in wrong_after_check(parameters=parameters)


def test_a_wrong_source_is_named(tmp_path: Path, texts: Path) -> None:
    empty, header, one_class = tmp_path / "empty.csv", tmp_path / "header.csv", tmp_path / "one.csv"
    empty.write_text("")
    header.write_text("text,label\n")
    one_class.write_text("text,label\n" + "hello,a\n" * 20)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"data": {"train": str(tmp_path / "missing.csv")}}, "data.train"),
        ({"data": {"train": "builtin:magic"}}, "data.train"),
        ({"data": {"train": str(empty)}}, "data.train"),
        ({"data": {"train": str(header)}}, "data.train"),
        ({"data": {"train": str(one_class)}}, "data.columns.label"),
        ({"data": {"train": str(texts), "columns": {"label": "answer"}}}, "data.columns.label"),
        ({"data": {"train": str(texts), "columns": {"answer": "label"}}}, "data.columns.answer"),
        ({"data": {"train": str(texts), "validation": 1}}, "data.validation"),
        ({"data": {"train": str(texts), "validation": str(tmp_path / "missing.csv")}}, "data.validation"),
        ({"task": "magic"}, "task"),
        ({"model": "builtin:magic"}, "model"),
        ({"model": str(tmp_path)}, "model"),
        ({"objective": {"metric": "beauty"}}, "objective.metric"),
    ]
    for changes, field in cases:
        assert field in wrong_after_check(**changes), changes


def test_one_wrong_part_does_not_hide_another(texts: Path) -> None:
    wrong = wrong_after_check(
        model="builtin:magic",
        data={"train": str(texts), "columns": {"label": "answer"}},
        objective={"metric": "beauty"},
        parameters={"epochs": {"min": 5, "max": 1}, "frozen_layers": {"min": 0, "max": "all"}},
    )
    # Without a model, its number of blocks is unknown: that follows from the wrong model and is not told.
    assert set(wrong) == {"model", "data.columns.label", "objective.metric", "parameters.epochs.min"}


def test_a_checked_study_has_nothing_left_open(texts: Path) -> None:
    checked = check(parse(study_body(data={"train": str(texts), "validation": 0.25}, parameters="auto")))
    assert isinstance(checked.spec.parameters, dict) and "learning_rate" in checked.spec.parameters
    assert checked.spec.objective == objective_of(checked.spec)
    assert checked.data is not None and checked.data.validation_rows == 10
    facts = facts_of(checked)
    assert facts["blocks"] == 6 and facts["baseline"]["accuracy"] == 0.5 and len(facts["fingerprint"]) == 64


def test_data_is_not_read_where_only_workers_can_see_it() -> None:
    checked = check(parse(study_body(data={"train": "/only/on/workers.csv"})), check_data=False)
    assert checked.data is None and set(facts_of(checked)) == {"blocks", "trained_parameters"}


@pytest.mark.parametrize("given", ["auto", {"learning_rate": {"min": 1e-5, "max": 1e-3}}])
def test_a_length_that_is_left_open_is_no_longer_than_the_model_reads(given: object, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = replace(catalog_definition("text-classification"), model_facts=lambda _: ModelFacts(blocks=6, max_positions=32))
    monkeypatch.setattr("tuner.spec.catalog_definition", lambda _: definition)
    checked = check(parse(study_body(parameters=given)), check_data=False)
    assert checked.space["max_length"] == Fixed(value=32)
    assert "learning_rate" in checked.space


@pytest.mark.parametrize(
    ("objective", "direction"),
    [
        (None, "maximize"),
        ({"metric": "accuracy"}, "maximize"),
        ({"metric": "loss"}, "minimize"),
        ({"metric": "loss", "direction": "maximize"}, "maximize"),
    ],
)
def test_the_direction_is_the_metrics_own_unless_given(objective: object, direction: str) -> None:
    assert direction_of(parse(study_body(objective=objective))) == direction


def test_columns_have_the_tasks_defaults() -> None:
    spec = parse(study_body(data={"train": "x", "columns": {"label": "answer"}}))
    assert data_spec(spec).columns == {"text": "text", "label": "answer"}
