"""What a trial keeps beside its model, in the form that training writes."""

from __future__ import annotations

import random

import torch

from studies.training.attention import attention_json
from studies.training.metrics import class_scores
from studies.training.task import Evaluation

CLASSES = ("place", "person", "<b>number</b>")
TEXTS = ("where is the river", "who wrote it", "how many are there", "where was he born", "who is she", "how long is it")
BLOCKS, HEADS = 3, 2


def result_files(accuracy: float, rng: random.Random) -> dict[str, str]:
    """Name and content of each: so many of the answers right, and attention of no meaning."""
    expected = [index % len(CLASSES) for index in range(len(TEXTS))]
    answers = [label if rng.random() < accuracy else (label + 1) % len(CLASSES) for label in expected]
    evaluation = Evaluation(
        scores={"accuracy": accuracy},
        classes=class_scores(torch.tensor(answers), torch.tensor(expected), CLASSES),
        predictions=[
            {"text": text, "expected": CLASSES[label], "predicted": CLASSES[answer], "probability": 0.7}
            for text, label, answer in zip(TEXTS, expected, answers, strict=True)
        ],
    )
    return evaluation.files() | attention_json([_attention(text, rng) for text in TEXTS[:2]])


def _attention(text: str, rng: random.Random) -> tuple[list[str], torch.Tensor]:
    tokens = ["[CLS]", *text.split(), "<script>", "[SEP]"]
    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    return tokens, (3 * torch.randn(BLOCKS, HEADS, len(tokens), len(tokens), generator=generator)).softmax(dim=-1)
