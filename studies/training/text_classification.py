"""Text classification for the training loop: any encoder or decoder with a classification head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from studies.definition import Job
from studies.labelled_texts import Example, read
from studies.training.data import Encoded, encode
from studies.training.metrics import class_scores, classification_scores
from studies.training.models import load_classifier
from studies.training.predict import BATCH_SIZE, compute_logits, quietly
from studies.training.settings import Settings
from studies.training.task import EVALUATION_BATCH_SIZE, Batch, Evaluation, Task


def prepare(job: Job, settings: Settings) -> Task:
    """The data, the model with a new head, and both splits as tokens. Raises InvalidInput and TrialFailure."""
    splits, classes = read(job.data, job.data_seed)
    model, tokenizer = load_classifier(job.model, classes, max_length=settings.max_length, dropout=settings.dropout)

    def encoded(rows: Sequence[Example]) -> Encoded:
        labels = [torch.tensor(classes.index(row.label)) for row in rows]
        return encode(tokenizer, [row.text for row in rows], targets={"labels": labels})

    def loss(outputs: Any, targets: Batch) -> Tensor:
        return functional.cross_entropy(outputs.logits, targets["labels"], label_smoothing=settings.label_smoothing)

    def evaluate(model: Any, examples: Encoded, device: str) -> Evaluation:
        logits = compute_logits(model, examples, EVALUATION_BATCH_SIZE, device)
        return evaluation_of(logits, torch.stack(list(examples.targets["labels"])), classes, splits.validation)

    return Task(
        splits=splits,
        model=model,
        processor=tokenizer,
        training=encoded(splits.train),
        validation=encoded(splits.validation),
        loss=loss,
        evaluate=evaluate,
    )


def evaluation_of(logits: Tensor, labels: Tensor, classes: Sequence[str], rows: Sequence[Example]) -> Evaluation:
    """Scores and answers of `logits` [rows, classes] against `labels` [rows]."""
    shares, answers = logits.softmax(dim=-1).max(dim=-1)
    return Evaluation(
        scores=classification_scores(logits, labels),
        classes=class_scores(answers, labels, classes),
        predictions=[
            {"text": row.text, "expected": row.label, "predicted": classes[int(answer)], "probability": round(float(share), 6)}
            for row, answer, share in zip(rows, answers, shares, strict=True)
        ],
    )


def predict(folder: Path, texts: Sequence[str]) -> list[dict[str, Any]]:
    """The most probable label of each text, and its probability (0 … 1), by the model that a trial left in `folder`."""
    if not texts:
        return []
    quietly()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True)
    return labelled(model, compute_logits(model, encode(tokenizer, texts), BATCH_SIZE, "cpu"))


def labelled(model: PreTrainedModel, logits: Tensor) -> list[dict[str, Any]]:
    """The most probable class of each row of `logits` [rows, classes], and its probability."""
    best, classes = logits.softmax(dim=-1).max(dim=-1)
    names: Any = model.config.id2label
    return [{"label": names[int(index)], "probability": float(share)} for index, share in zip(classes, best, strict=True)]
