"""Text classification for the training loop: any encoder or decoder with a classification head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from studies.definition import Job
from studies.labelled_texts import Example, read
from studies.splits import Splits
from studies.training.data import Encoded, encode
from studies.training.metrics import class_scores, classification_scores
from studies.training.models import load_classifier, load_trained
from studies.training.predict import BATCH_SIZE, compute_logits, quietly
from studies.training.settings import Settings
from studies.training.task import EVALUATION_BATCH_SIZE, Batch, Evaluation, Processor, Task, unchanged
from studies.training.text_changes import text_changes


def prepare(job: Job, settings: Settings) -> Task:
    """The data, the model with a new head, and both splits as tokens. Raises InvalidInput and TrialFailure."""
    splits, classes = read(job.data, job.data_seed)
    model, tokenizer = load_classifier(job.model, classes, max_length=settings.max_length, dropout=settings.dropout)
    change = text_changes(tokenizer, settings)
    return classifier_task(model, tokenizer, splits, classes, settings, partial(encode, tokenizer), augment=change)


def classifier_task(
    model: PreTrainedModel,
    processor: Processor,
    splits: Splits[Example],
    classes: Sequence[str],
    settings: Settings,
    encode_all: Callable[[list[str], dict[str, list[Tensor]]], Encoded],
    *,
    augment: Callable[[Batch], Batch] = unchanged,
    readable: bool = True,
) -> Task:
    """What the loop is given for any model that puts out logits [rows, classes].

    `encode_all` takes what is labelled and the targets; `readable`: what is labelled is worth keeping beside its prediction.
    """

    def encoded(rows: Sequence[Example]) -> Encoded:
        return encode_all([row.text for row in rows], {"labels": [torch.tensor(classes.index(row.label)) for row in rows]})

    weights = class_weights([classes.index(row.label) for row in splits.train], len(classes), settings)

    def loss(outputs: Any, targets: Batch) -> Tensor:
        return weighted_loss(outputs.logits, targets["labels"], weights, settings.label_smoothing)

    def evaluate(model: Any, examples: Encoded, device: str) -> Evaluation:
        logits = compute_logits(model, examples, EVALUATION_BATCH_SIZE, device)
        labels = torch.stack(list(examples.targets["labels"]))
        shares, answers = logits.softmax(dim=-1).max(dim=-1)
        return Evaluation(
            scores=classification_scores(logits, labels),
            classes=class_scores(answers, labels, classes),
            predictions=[
                ({"text": row.text} if readable else {})
                | {"expected": row.label, "predicted": classes[int(answer)], "probability": round(float(share), 6)}
                for row, answer, share in zip(splits.validation, answers, shares, strict=True)
            ],
        )

    return Task(
        splits=splits,
        model=model,
        processor=processor,
        training=encoded(splits.train),
        validation=encoded(splits.validation),
        loss=loss,
        evaluate=evaluate,
        augment=augment,
    )


def class_weights(labels: Sequence[int], classes: int, settings: Settings) -> Tensor | None:
    """How much an example of each class counts, [classes], on average 1; None where all count alike."""
    if settings.class_weights == "none":
        return None
    counts = torch.bincount(torch.tensor(labels), minlength=classes)
    # A class that training never shows has no example that could count.
    return len(labels) / (int((counts > 0).sum()) * counts.clamp(min=1))


def weighted_loss(logits: Tensor, labels: Tensor, weights: Tensor | None, smoothing: float) -> Tensor:
    """Mean cross-entropy, each row's times the weight of its class."""
    if weights is None:
        return functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    # Not PyTorch's own weights: it divides by those of the batch, so that one computed in parts would be another.
    losses = functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    return (losses * weights.to(labels.device)[labels]).mean()


def predict(folder: Path, texts: Sequence[str]) -> list[dict[str, Any]]:
    """The most probable label of each text, and its probability (0 … 1), by the model that a trial left in `folder`."""
    if not texts:
        return []
    quietly()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = load_trained(folder, AutoModelForSequenceClassification)
    return labelled(model, compute_logits(model, encode(tokenizer, texts), BATCH_SIZE, "cpu"))


def labelled(model: PreTrainedModel, logits: Tensor) -> list[dict[str, Any]]:
    """The most probable class of each row of `logits` [rows, classes], and its probability."""
    best, classes = logits.softmax(dim=-1).max(dim=-1)
    names: Any = model.config.id2label
    return [{"label": names[int(index)], "probability": float(share)} for index, share in zip(classes, best, strict=True)]
