"""Scores of predictions."""

from __future__ import annotations

from sklearn.metrics import accuracy_score, f1_score
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
