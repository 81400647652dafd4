from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from transformers import AutoModel, AutoTokenizer

from studies.errors import InvalidInput
from studies.training.attention import attention, attention_file
from studies.training.data import encode


def test_every_head_of_every_block_looks_at_all_tokens(tiny_model: str) -> None:
    maps = attention(Path(tiny_model), "the cat is red")
    assert maps.tokens == ["[CLS]", "the", "cat", "is", "red", "[SEP]"]
    assert (len(maps.weights), len(maps.weights[0]), len(maps.weights[0][0])) == (3, 2, 6)
    assert all(sum(row) == pytest.approx(1.0, abs=1e-5) for block in maps.weights for head in block for row in head)


def test_a_folder_without_a_model_that_attends(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="its model reads no text"):
        attention(tmp_path, "x")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model reads no more than 32 tokens."""
    monkeypatch.setattr("studies.training.attention._MOST_TOKENS", 16)


@pytest.mark.usefixtures("short")
def test_maps_of_the_first_short_examples_are_kept_with_a_trial(tiny_model: str) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(tiny_model), AutoModel.from_pretrained(tiny_model)
    texts = ["the cat is red", "the dog " * 40, "the dog"]
    before = model.config._attn_implementation, model.training
    kept = json.loads(attention_file(model, tokenizer, encode(tokenizer, texts), "cpu")["attention.json"])["examples"]
    assert (model.config._attn_implementation, model.training) == before
    assert [example["tokens"] for example in kept] == [
        ["[CLS]", "the", "cat", "is", "red", "[SEP]"],
        ["[CLS]", "the", "dog", "[SEP]"],
    ]
    assert kept[0]["shape"] == [3, 2, 6, 6]
    for example, text in zip(kept, (texts[0], texts[2]), strict=True):  # computed together, as if each were alone
        whole = attention(Path(tiny_model), text).weights
        values = [value for block in whole for head in block for row in head for value in row]
        assert list(base64.b64decode(example["weights"])) == pytest.approx([255 * value for value in values], abs=0.51)


@pytest.mark.usefixtures("short")
def test_a_trial_of_a_model_that_does_not_attend_keeps_none(tiny_model: str) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(tiny_model), AutoModel.from_pretrained(tiny_model)
    assert attention_file(model, None, encode(tokenizer, ["the cat"]), "cpu") == {}
    assert attention_file(model, tokenizer, encode(tokenizer, ["the dog " * 40]), "cpu") == {}
