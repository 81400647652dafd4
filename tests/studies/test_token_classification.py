from __future__ import annotations

from pathlib import Path

import pytest

from studies.definition import DataSpec
from studies.errors import InvalidInput
from studies.token_classification import inspect, read
from tests.studies.training.conftest import write_jsonl


def test_words_come_as_lists_or_as_text(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"tokens": ["a", "b"], "tags": ["X", "O"]}, {"tokens": "c d e", "tags": "O X O"}]
    data = DataSpec(train=write_jsonl(tmp_path / "rows.jsonl", rows * 5), validation=0.2)
    splits, tags = read(data, 0)
    assert tags == ("O", "X")
    assert {row.tokens for row in splits.train} == {("a", "b"), ("c", "d", "e")}
    assert (inspect(data, 0).train_rows, inspect(data, 0).validation_rows) == (8, 2)
    assert 0.5 <= inspect(data, 0).baseline["accuracy"] < 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"tokens": ["a"], "tags": ["X", "O"]}], "data.columns.tags: 1 row has not one tag for each token .*row 1"),
        ([{"tokens": [], "tags": []}], "data.columns.tokens: 1 row has no tokens"),
        ([{"tokens": ["a"], "tags": ["X"]}], "data.columns.tags: every word of .* has the tag 'X'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, rows: list[dict[str, object]], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read(DataSpec(train=write_jsonl(tmp_path / "rows.jsonl", rows)), 0)


def test_tags_that_only_validation_has(tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "train.jsonl", [{"tokens": "a b", "tags": "X O"}])
    other = write_jsonl(tmp_path / "other.jsonl", [{"tokens": "a", "tags": "Z"}])
    with pytest.raises(InvalidInput, match="data.validation: has tags that the training data never shows: 'Z'"):
        read(DataSpec(train=train, validation=other), 0)
