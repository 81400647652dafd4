from __future__ import annotations

import random

import torch
from transformers import AutoTokenizer

from studies.training.data import Encoded, encode, evaluation_batches, training_batches

LENGTHS = random.Random(0).choices(range(3, 40), k=500)


def padded_tokens(batches: list[list[int]]) -> int:
    return sum(len(rows) * max(LENGTHS[row] for row in rows) for rows in batches)


def test_batches_are_padded_to_their_longest_text(tiny_model: str) -> None:
    encoded = encode(AutoTokenizer.from_pretrained(tiny_model), ["cat", "the red horse is very blue", "dog"])
    assert encoded.lengths == [3, 8, 3]
    batch = encoded.batch([0, 1], "cpu")
    assert {name: tuple(tensor.shape) for name, tensor in batch.items()} == dict.fromkeys(encoded.inputs, (2, 8))
    assert batch["attention_mask"].tolist() == [[1] * 3 + [0] * 5, [1] * 8]
    assert encoded.batch([0, 2], "cpu")["input_ids"].shape == (2, 3)


def test_padding_is_the_tokenizers_own(tiny_model: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    texts = ["cat", "the red horse is very blue"]
    expected = tokenizer(texts, padding=True, return_tensors="pt")
    batch = encode(tokenizer, texts).batch([0, 1], "cpu")
    assert all(torch.equal(batch[name], expected[name]) for name in expected)


def test_texts_are_cut_off_at_the_tokenizers_limit(tiny_model: str) -> None:
    assert encode(AutoTokenizer.from_pretrained(tiny_model), ["cat " * 100]).lengths == [32]


def test_training_batches_hold_every_row_once() -> None:
    batches = training_batches(LENGTHS, 16, random.Random(0))
    assert sorted(row for rows in batches for row in rows) == list(range(500))
    assert sorted(map(len, batches)) == [500 % 16] + [16] * (500 // 16)


def test_training_batches_change_with_the_epoch_and_repeat_with_the_seed() -> None:
    generator = random.Random(0)
    first, second = training_batches(LENGTHS, 16, generator), training_batches(LENGTHS, 16, generator)
    assert first != second
    assert first == training_batches(LENGTHS, 16, random.Random(0))


def test_little_of_a_batch_is_padding() -> None:
    shuffled = random.Random(0).sample(range(500), 500)
    naive = padded_tokens([shuffled[start : start + 16] for start in range(0, 500, 16)])
    assert padded_tokens(training_batches(LENGTHS, 16, random.Random(0))) < 1.15 * sum(LENGTHS) < 0.7 * naive


def test_evaluation_batches_hold_every_row_once_with_least_padding() -> None:
    batches = evaluation_batches(LENGTHS, 64)
    assert sorted(row for rows in batches for row in rows) == list(range(500))
    assert padded_tokens(batches) <= padded_tokens(training_batches(LENGTHS, 64, random.Random(0)))


def test_more_short_texts_than_long_ones_are_evaluated_at_once() -> None:
    sizes = [len(rows) for rows in evaluation_batches([8] * 1000 + [64] * 100 + [512] * 10, 64)]
    assert sizes[0] == 512
    assert 64 in sizes
    assert sizes[-1] == 2


def test_targets_are_padded_or_stacked_like_inputs() -> None:
    encoded = Encoded(
        inputs={"pixel_values": [torch.zeros(1, 2, 2), torch.ones(1, 2, 2)]},
        padding={"tags": -100},
        targets={"labels": [torch.tensor(1), torch.tensor(0)], "tags": [torch.tensor([1, 2]), torch.tensor([3])]},
    )
    assert (len(encoded), encoded.lengths) == (2, [64, 64])
    assert encoded.batch([1, 0], "cpu")["pixel_values"].shape == (2, 1, 2, 2)
    targets = encoded.batch_targets([0, 1], "cpu")
    assert targets["labels"].tolist() == [1, 0]
    assert targets["tags"].tolist() == [[1, 2], [3, -100]]
