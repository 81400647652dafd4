from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from studies.definition import DataSpec
from studies.errors import InvalidInput
from studies.question_answering import DEFINITION, Question
from studies.training.question_answering import answer_f1, normalised, predict, windows
from tests.studies.conftest import FILLERS, WORDS
from tests.studies.training.conftest import train_tiny, write_jsonl


def questions(count: int) -> list[dict[str, object]]:
    """`so` asks for the animal of the text, `very` for its colour."""
    generator = random.Random(0)
    rows: list[dict[str, object]] = []
    for _ in range(count):
        words = generator.choices(FILLERS[:1] + FILLERS[3:6], k=6)
        animal, colour = generator.choice(WORDS["animal"]), generator.choice(WORDS["colour"])
        first, second = generator.sample(range(6), 2)
        words[first], words[second] = animal, colour
        asked, answer = generator.choice([("so", animal), ("very", colour)])
        rows.append({"question": asked, "context": " ".join(words), "answer": answer})
    return rows


def test_it_learns_to_answer_and_keeps_its_answers(tiny_model: str, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", questions(200))
    data = DataSpec(train=source, validation=0.2)
    outcome = train_tiny(DEFINITION, tiny_model, data, tmp_path, max_length=16, batch_size=8, epochs=16, learning_rate=3e-3)
    assert outcome.values["exact_match"] > 0.8
    answers = [json.loads(line) for line in (tmp_path / "model" / "predictions.jsonl").read_text("utf-8").splitlines()]
    assert sum(row["expected"] == row["predicted"] for row in answers) / len(answers) == outcome.values["exact_match"]
    asked = json.dumps({"question": "so", "context": "the dog is red"})
    assert predict(tmp_path / "model", [asked])[0]["answer"] == "dog"


def test_a_long_text_is_cut_into_windows_that_overlap(tiny_model: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model, model_max_length=16)
    context = "the " * 20 + "cat"
    cut = windows(tokenizer, [Question("so", context, "cat", 80), Question("so", "a cat", "cat", 2)])
    assert cut.rows == [0, 0, 0, 1]
    assert all(length <= 16 for length in cut.encoded.lengths)
    pairs = [(int(start), int(end)) for start, end in zip(cut.encoded.targets["start"], cut.encoded.targets["end"], strict=True)]
    # Only the last window of the first text holds the answer; elsewhere the first token of all stands for "not here".
    assert pairs[:2] == [(0, 0), (0, 0)]
    assert [cut.offsets[2][index] for index in pairs[2]] == [(80, 83), (80, 83)]
    assert [cut.offsets[3][index] for index in pairs[3]] == [(2, 5), (2, 5)]


def test_a_question_longer_than_the_model_reads_is_cut(tiny_model: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model, model_max_length=16)
    cut = windows(tokenizer, [Question("so " * 50, "the cat", "cat", 4)])
    assert max(cut.encoded.lengths) <= 16
    assert cut.offsets[0][int(cut.encoded.targets["start"][0])] == (4, 7)


def test_answers_are_compared_as_squad_does() -> None:
    assert normalised("The  U.S. Army") == "us army"
    assert (answer_f1("the red cat", "Red cat!"), answer_f1("cat", "dog"), answer_f1("a", "the")) == (1.0, 0.0, 1.0)
    assert answer_f1("red cat", "cat") == pytest.approx(2 / 3)


def test_an_input_that_is_no_question() -> None:
    with pytest.raises(InvalidInput, match="must be a JSON object such as"):
        predict(Path(), ["what?"])
