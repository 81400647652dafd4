from __future__ import annotations

import json
import math
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from studies.definition import DataSpec
from studies.errors import InvalidInput
from studies.labelled_texts import inspect, read
from tests.studies.conftest import Write

Rows = list[tuple[str, str]]


def error_of(data: DataSpec) -> str:
    with pytest.raises(InvalidInput) as caught:
        inspect(data, 0)
    return str(caught.value)


def test_shares_are_of_the_training_source(write: Write, examples: Rows) -> None:
    splits, classes = read(DataSpec(train=write("a.csv", examples), validation=0.25, test=0.25), 0)
    assert [len(rows) for rows in (splits.train, splits.validation, splits.test)] == [90, 45, 45]
    assert classes == ("animal", "colour", "number")
    assert set(Counter(example.label for example in splits.validation).values()) == {15}


def test_test_rows_stay_when_the_validation_share_changes(write: Write, examples: Rows) -> None:
    data = DataSpec(train=write("a.csv", examples), validation=0.25, test=0.25)
    assert read(data, 0)[0].test == read(replace(data, validation=0.5), 0)[0].test


def test_splits_may_have_sources_of_their_own(write: Write, examples: Rows) -> None:
    data = DataSpec(train=write("a.csv", examples), validation=write("b.jsonl", examples[:30]), test=write("c.csv", examples[:9]))
    facts = inspect(data, 0)
    assert (facts.train_rows, facts.validation_rows, facts.test_rows) == (180, 30, 9)


def test_limit_shuffles_each_source_first(write: Write, examples: Rows) -> None:
    by_label = sorted(examples, key=lambda row: row[1])
    data = DataSpec(train=write("a.csv", by_label), validation=write("b.csv", by_label), limit=20)
    splits, _ = read(data, 0)
    assert (len(splits.train), len(splits.validation)) == (20, 20)
    assert len({example.label for example in splits.train}) == 3


def test_classes_beyond_the_limit_stay_classes(write: Write) -> None:
    rows = [("one", "a"), ("two", "b")] * 20 + [("three", "rare")]
    facts = inspect(DataSpec(train=write("a.csv", rows), validation=write("b.csv", rows), limit=10), 0)
    assert facts.classes == ("a", "b", "rare")


def test_facts_are_decided_by_data_and_seed(write: Write, examples: Rows) -> None:
    data = DataSpec(train=write("a.csv", examples))
    assert inspect(data, 0) == inspect(data, 0)
    assert inspect(data, 0).fingerprint != inspect(data, 1).fingerprint
    changed = DataSpec(train=write("b.csv", [*examples[:-1], ("other", examples[-1][1])]))
    assert inspect(data, 0).fingerprint != inspect(changed, 0).fingerprint


def test_the_baseline_is_the_best_constant_answer(write: Write) -> None:
    rows = [("one", "a"), ("two", "b")]
    validation = [("x", "a"), ("x", "a"), ("x", "a"), ("x", "b")]
    facts = inspect(DataSpec(train=write("a.csv", rows), validation=write("b.csv", validation)), 0)
    assert facts.baseline["accuracy"] == 0.75
    assert facts.baseline["macro_f1"] == pytest.approx((2 * 0.75 * 1 / 1.75 + 0) / 2)
    assert facts.baseline["loss"] == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))


def test_labels_that_are_numbers_become_names(tmp_path: Path) -> None:
    path = str(tmp_path / "a.parquet")
    labels = [1.0, 2.0] * 10
    parquet.write_table(pyarrow.table({"text": ["t"] * 20, "label": labels}), path)
    assert inspect(DataSpec(train=path), 0).classes == ("1", "2")


def test_the_whole_of_trec_is_inspected_in_well_under_a_second() -> None:
    started = time.perf_counter()
    facts = inspect(DataSpec(train="builtin:trec"), 0)
    assert time.perf_counter() - started < 0.8
    assert facts.train_rows + facts.validation_rows == 5381
    assert facts.validation_rows == 538


@pytest.mark.parametrize("missing", ["", "nan", "NaN", " null "])
def test_rows_without_a_label(write: Write, examples: Rows, missing: str) -> None:
    rows = [*examples[:4], ("a text", missing), ("another", missing)]
    path = write("a.csv", rows)
    assert error_of(DataSpec(train=path)) == (
        f"data.columns.label: 2 rows have no label (the first: {path} row 5); fill in or remove such rows"
    )


@pytest.mark.parametrize("missing", [None, float("nan"), ["x"]])
def test_labels_that_are_no_label(write: Write, examples: Rows, missing: object) -> None:
    path = write("a.jsonl", examples)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps({"text": "a text", "label": missing}) + "\n")
    assert "data.columns.label: 1 row has no label" in error_of(DataSpec(train=path))


def test_rows_without_a_text(write: Write, examples: Rows) -> None:
    path = write("a.csv", [*examples, ("  ", "animal")])
    assert f"data.columns.text: 1 row has no text (the first: {path} row 181)" in error_of(DataSpec(train=path))


def test_one_class_is_not_enough(write: Write) -> None:
    path = write("a.csv", [("one", "x"), ("two", "x")] * 20)
    assert error_of(DataSpec(train=path)) == (
        f"data.columns.label: every row of {path} has the label 'x'; two classes are needed"
    )


def test_validation_labels_must_be_known_to_training(write: Write, examples: Rows) -> None:
    data = DataSpec(train=write("a.csv", examples), validation=write("b.csv", [*examples[:5], ("x", "new")]))
    assert error_of(data).startswith(
        "data.validation: has labels that the training data never shows: 'new'; training has: animal"
    )


@pytest.mark.parametrize("share", [0, 1, 1.5, -0.1, float("nan")])
def test_shares_lie_between_0_and_1(write: Write, examples: Rows, share: float) -> None:
    path = write("a.csv", examples)
    assert error_of(DataSpec(train=path, validation=share)).startswith("data.validation: must be a source, or a share")
    assert error_of(DataSpec(train=path, test=share)).startswith("data.test: must be a source, or a share")


def test_shares_must_leave_something_to_train_on(write: Write, examples: Rows) -> None:
    data = DataSpec(train=write("a.csv", examples), validation=0.5, test=0.5)
    assert "data.test: together with data.validation leaves nothing" in error_of(data)


def test_too_few_rows_to_split(write: Write) -> None:
    path = write("a.csv", [("one", "a"), ("two", "b"), ("three", "b")])
    assert "data.validation: this share of 3 rows is no row at all" in error_of(DataSpec(train=path))


def test_a_limit_can_be_too_tight(write: Write) -> None:
    path = write("a.csv", [("one", "a"), ("two", "b")] * 10)
    assert "data.limit: 1 leaves rows of one class only" in error_of(DataSpec(train=path, limit=1))
    assert "data.limit: must be at least 1, not 0" in error_of(DataSpec(train=path, limit=0))


def test_each_source_is_named_by_its_own_field(write: Write, examples: Rows) -> None:
    path = write("a.csv", examples)
    assert "data.validation: there is no file" in error_of(DataSpec(train=path, validation="gone.csv"))
    assert "data.test: there is no file" in error_of(DataSpec(train=path, test="gone.csv"))
    assert "data.columns.label: " in error_of(DataSpec(train=path, columns={"label": "topic"}))
