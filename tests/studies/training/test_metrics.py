from __future__ import annotations

import math

import pytest
import torch

from studies.training.metrics import class_scores, classification_scores


def test_perfect_predictions() -> None:
    scores = classification_scores(torch.eye(3) * 100, torch.arange(3))
    assert scores == {"accuracy": 1.0, "macro_f1": 1.0, "loss": pytest.approx(0.0)}


def test_one_answer_for_all_scores_what_the_baseline_says() -> None:
    logits = torch.tensor([[1.0, 0.0]] * 4)
    scores = classification_scores(logits, torch.tensor([0, 0, 0, 1]))
    assert scores["accuracy"] == 0.75
    assert scores["macro_f1"] == pytest.approx(2 * 0.75 / 1.75 / 2)
    assert scores["loss"] == pytest.approx(math.log(1 + math.e) - 0.75)


def test_classes_that_no_row_has_do_not_count() -> None:
    logits = torch.tensor([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0]])
    scores = classification_scores(logits, torch.tensor([0, 1, 1]))
    assert scores["macro_f1"] == pytest.approx((1.0 + 2 / 3) / 2)


def test_each_class_has_its_own_scores() -> None:
    scores = class_scores(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), ["a", "b", "c"])
    assert scores["a"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "rows": 1}
    assert scores["b"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "rows": 2}
    assert scores["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "rows": 0}
