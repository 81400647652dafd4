from __future__ import annotations

from pathlib import Path

import pytest

from studies.definition import DataSpec
from studies.errors import InvalidInput
from studies.question_answering import inspect, read
from tests.studies.training.conftest import write_jsonl


def row(context: str, answer: object) -> dict[str, object]:
    return {"question": "what?", "context": context, "answer": answer}


def test_questions_on_one_text_stay_together(tmp_path: Path) -> None:
    rows = [row(f"text {number}", str(number)) for number in range(10) for _ in range(3)]
    data = DataSpec(train=write_jsonl(tmp_path / "rows.jsonl", rows), validation=0.2)
    splits = read(data, 0)
    assert not {example.context for example in splits.train} & {example.context for example in splits.validation}
    assert (inspect(data, 0).train_rows, inspect(data, 0).validation_rows) == (24, 6)


def test_an_answer_is_a_text_or_what_squad_has(tmp_path: Path) -> None:
    rows = [row("the cat and the cat", "cat"), row("the cat and the cat", {"text": ["cat"], "answer_start": [16]})]
    splits = read(DataSpec(train=write_jsonl(tmp_path / "rows.jsonl", rows), validation=str(tmp_path / "rows.jsonl")), 0)
    assert [(example.answer, example.start) for example in splits.train] == [("cat", 4), ("cat", 16)]


@pytest.mark.parametrize("answer", ["dog", "", None, {"text": []}])
def test_an_answer_that_is_not_in_its_text(tmp_path: Path, answer: object) -> None:
    with pytest.raises(InvalidInput, match="data.columns.answer: 1 row has an answer that does not stand in its context"):
        read(DataSpec(train=write_jsonl(tmp_path / "rows.jsonl", [row("the cat", answer)])), 0)
