from __future__ import annotations

from pathlib import Path

import pytest

from studies.definition import DataSpec
from studies.errors import InvalidInput
from studies.text_generation import DEFINITION, inspect
from tests.studies.training.conftest import write_jsonl


def test_its_data_is_texts(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [{"text": f"line {number}"} for number in range(10)])
    facts = inspect(DataSpec(train=source, validation=0.2), 0)
    assert (facts.train_rows, facts.validation_rows, facts.classes, facts.baseline) == (8, 2, (), {})
    assert next(iter(DEFINITION.metrics.items())) == ("perplexity", "minimize")


def test_an_empty_text_is_named(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [{"text": "a"}, {"text": "  "}])
    with pytest.raises(InvalidInput, match="data.columns.text: 1 row has no text .*row 2"):
        inspect(DataSpec(train=source), 0)
