from __future__ import annotations

import json
import random
from pathlib import Path

from transformers import AutoTokenizer

from studies.definition import DataSpec
from studies.token_classification import DEFINITION, Sentence
from studies.training.token_classification import encode_words
from tests.studies.conftest import FILLERS, WORDS
from tests.studies.training.conftest import train_tiny, write_jsonl


def sentences(count: int) -> list[dict[str, object]]:
    """Fillers with one word of a kind in each; the kind is the word's tag."""
    generator = random.Random(0)
    rows: list[dict[str, object]] = []
    for _ in range(count):
        kind = generator.choice(sorted(WORDS))
        tokens, place = generator.choices(FILLERS, k=5), generator.randrange(5)
        tokens[place] = generator.choice(WORDS[kind])
        rows.append({"tokens": tokens, "tags": ["O"] * place + [kind] + ["O"] * (4 - place)})
    return rows


def test_it_learns_to_find_spans_and_keeps_what_it_found(tiny_model: str, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", sentences(120))
    data = DataSpec(train=source, validation=0.25)
    outcome = train_tiny(DEFINITION, tiny_model, data, tmp_path, max_length=16, batch_size=8, epochs=4, learning_rate=5e-3)
    assert outcome.values["f1"] > 0.9
    kept = json.loads((tmp_path / "model" / "evaluation.json").read_text("utf-8"))
    assert kept["scores"] == outcome.values and set(kept["classes"]) == set(WORDS)
    assert DEFINITION.predict(tmp_path / "model", ["the cat is red"])[0]["spans"] == [
        {"text": "cat", "kind": "animal"},
        {"text": "red", "kind": "colour"},
    ]


def test_the_first_token_of_a_word_bears_its_tag(tiny_model: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    encoded = encode_words(tokenizer, [Sentence(("the", "cat,", "is"), ("O", "animal", "O"))], ("O", "animal"))
    # [CLS] the cat , is [SEP]: the comma is a token of its own, but of the word before it.
    assert encoded.targets["labels"][0].tolist() == [-100, 0, 1, -100, 0, -100]


def test_words_that_were_cut_off_count_as_not_found(tiny_model: str, tmp_path: Path) -> None:
    rows = [{"tokens": ["the"] * 40 + ["cat"], "tags": ["O"] * 40 + ["animal"]}] * 8
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    outcome = train_tiny(DEFINITION, tiny_model, DataSpec(train=source, validation=0.5), tmp_path, max_length=8, epochs=1)
    assert outcome.values["recall"] == 0.0
    assert outcome.values["accuracy"] <= 40 / 41
