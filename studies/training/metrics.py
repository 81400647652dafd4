"""Scores of predictions."""

from __future__ import annotations

from collections.abc import Sequence

from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support
from torch import Tensor
from torch.nn import functional


def classification_scores(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy, macro-averaged F1 and mean cross-entropy (nats) of `logits` [rows, classes] against `labels` [rows].

    F1 is averaged over the classes that `labels` shows, so that trials are averaged alike whatever they predict.
    """
    predicted, expected = logits.argmax(dim=-1).numpy(), labels.numpy()
    return {
        "accuracy": float(accuracy_score(expected, predicted)),
        "macro_f1": float(f1_score(expected, predicted, labels=sorted(set(labels.tolist())), average="macro", zero_division=0)),
        "loss": float(functional.cross_entropy(logits, labels)),
    }


def class_scores(predicted: Tensor, labels: Tensor, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """For each of `classes` its precision, recall and F1 (0 … 1), and how many rows have it; indices [rows] into `classes`."""
    columns = precision_recall_fscore_support(labels.numpy(), predicted.numpy(), labels=range(len(classes)), zero_division=0)
    names = ("precision", "recall", "f1", "rows")
    return {name: dict(zip(names, map(float, row), strict=True)) for name, *row in zip(classes, *columns, strict=True)}
