from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from studies.definition import DataSpec
from studies.text_generation import DEFINITION, Text
from studies.training.text_generation import encode_whole, go_on
from tests.studies.training.conftest import train_tiny, write_jsonl

TEXTS = ["the cat is red", "a dog is blue", "the horse is green"]


def test_it_learns_what_comes_next_and_leaves_samples_to_read(word_decoder: str, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [{"text": text} for text in TEXTS * 12])
    data = DataSpec(train=source, validation=source)
    outcome = train_tiny(DEFINITION, word_decoder, data, tmp_path, max_length=16, batch_size=4, epochs=12, learning_rate=1e-2)
    # After its first word, which nothing foretells, a text is all but certain.
    assert outcome.values["perplexity"] < 2.0
    assert outcome.values["perplexity"] == pytest.approx(math.exp(outcome.values["loss"]))
    assert outcome.values["loss"] == pytest.approx(plain_loss(tmp_path / "model"), abs=1e-5)
    samples = [json.loads(line) for line in (tmp_path / "model" / "predictions.jsonl").read_text("utf-8").splitlines()]
    assert {row["prompt"] for row in samples} == set(TEXTS)
    torch.manual_seed(0)
    # Prompts of several lengths, and more than are written together.
    answers = DEFINITION.predict(tmp_path / "model", ["the cat", "a dog is", "the horse", *["the cat is"] * 6])
    assert [answer["written"].strip() for answer in answers] == ["is red", "blue", "is green", *["red"] * 6]


def test_a_long_prompt_takes_no_room_from_the_others(word_decoder: str) -> None:
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(word_decoder),
        AutoTokenizer.from_pretrained(word_decoder, model_max_length=9),
    )
    tokenizer.pad_token = tokenizer.eos_token
    model.generation_config.eos_token_id = None  # so that each writes as much as it may
    short, long = "the cat", "the cat is red and the dog is"
    torch.manual_seed(0)
    alone = go_on(model, tokenizer, [short])
    torch.manual_seed(0)
    assert [len(tokenizer(text)["input_ids"]) for text in (short, long)] == [2, 8]
    assert go_on(model, tokenizer, [long, short])[1] == alone[0]


def plain_loss(folder: Path) -> float:
    """By transformers alone: one text at a time, so without any padding."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    losses = []
    for text in TEXTS:
        ids = torch.tensor([[*tokenizer(text)["input_ids"], tokenizer.eos_token_id]])
        with torch.inference_mode():
            losses.append(float(model(ids, labels=ids).loss))
    return sum(losses) / len(losses)


def test_texts_are_cut_off_but_always_end(word_decoder: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(word_decoder, model_max_length=4)
    encoded = encode_whole(tokenizer, [Text("the cat"), Text("the cat is red and blue")])
    assert encoded.lengths == [3, 4]
    assert [int(ids[-1]) for ids in encoded.inputs["input_ids"]] == [0, 0]
