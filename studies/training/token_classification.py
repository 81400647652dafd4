"""Token classification for the training loop: any encoder with a head that tags each word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForTokenClassification, AutoTokenizer, PreTrainedTokenizerBase

from studies.definition import Job
from studies.token_classification import Sentence, read
from studies.training.data import Encoded, padding_of
from studies.training.models import load_classifier, load_trained
from studies.training.predict import BATCH_SIZE, outputs_of, quietly
from studies.training.settings import Settings
from studies.training.spans import OUTSIDE, span_scores, spans
from studies.training.task import EVALUATION_BATCH_SIZE, Batch, Evaluation, Task
from studies.training.text_classification import class_weights, weighted_loss

# What PyTorch's cross-entropy skips.
_SKIPPED = -100


def prepare(job: Job, settings: Settings) -> Task:
    """The data, the model with a new head, and both splits as tokens. Raises InvalidInput and TrialFailure."""
    splits, tags = read(job.data, job.data_seed)
    model, tokenizer = load_classifier(
        job.model, tags, max_length=settings.max_length, dropout=settings.dropout, head=AutoModelForTokenClassification
    )

    weights = class_weights([tags.index(tag) for row in splits.train for tag in row.tags], len(tags), settings)

    def loss(outputs: Any, targets: Batch) -> Tensor:
        return _loss(outputs.logits, targets["labels"], settings.label_smoothing, weights)

    def evaluate(model: Any, examples: Encoded, device: str) -> Evaluation:
        return _evaluate(model, examples, device, tags, splits.validation)

    training = encode_words(tokenizer, splits.train, tags)
    return Task(
        splits=splits,
        model=model,
        processor=tokenizer,
        training=training,
        validation=encode_words(tokenizer, splits.validation, tags),
        counts=[int((labels != _SKIPPED).sum()) for labels in training.targets["labels"]],
        loss=loss,
        evaluate=evaluate,
    )


def encode_words(tokenizer: PreTrainedTokenizerBase, sentences: Sequence[Sentence], tags: Sequence[str]) -> Encoded:
    """Words as tokens; the first token of each word bears its tag, the others none. Words beyond the longest input are lost."""
    encoded = tokenizer([list(sentence.tokens) for sentence in sentences], truncation=True, is_split_into_words=True)
    index = {tag: number for number, tag in enumerate(tags)}
    labels = []
    for row, sentence in enumerate(sentences):
        words = encoded.word_ids(row)
        first = [word is not None and word != before for word, before in zip(words, [None, *words], strict=False)]
        labels.append([index[sentence.tags[word]] if new else _SKIPPED for word, new in zip(words, first, strict=True)])
    return Encoded(
        inputs={name: [torch.tensor(values) for values in encoded[name]] for name in encoded},
        targets={"labels": [torch.tensor(row) for row in labels]},
        padding=padding_of(tokenizer) | {"labels": _SKIPPED},
    )


def predict(folder: Path, texts: Sequence[str]) -> list[dict[str, Any]]:
    """The spans of each text, as `{"spans": [{"text", "kind"}, …]}`, by the model that a trial left in `folder`."""
    if not texts:
        return []
    quietly()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = load_trained(folder, AutoModelForTokenClassification)
    config: Any = model.config
    names = [config.id2label[index] for index in range(config.num_labels)]
    rows = [Sentence(tuple(text.split()), (names[0],) * len(text.split())) for text in texts]
    tagged = _tag(model, encode_words(tokenizer, rows, names), BATCH_SIZE, "cpu", names, rows)[0]
    return [
        {"spans": [{"text": " ".join(row.tokens[span.start : span.end]), "kind": span.kind} for span in sorted(spans(row_tags))]}
        for row, row_tags in zip(rows, tagged, strict=True)
    ]


def _loss(logits: Tensor, labels: Tensor, smoothing: float = 0.0, weights: Tensor | None = None) -> Tensor:
    if weights is not None:
        marked = labels != _SKIPPED
        return weighted_loss(logits[marked], labels[marked], weights, smoothing)
    return functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=_SKIPPED, label_smoothing=smoothing)


def _evaluate(model: Any, examples: Encoded, device: str, tags: Sequence[str], rows: Sequence[Sentence]) -> Evaluation:
    answers, loss = _tag(model, examples, EVALUATION_BATCH_SIZE, device, tags, rows)
    scores, classes = span_scores([row.tags for row in rows], answers)
    pairs = [pair for row, answer in zip(rows, answers, strict=True) for pair in zip(row.tags, answer, strict=True)]
    return Evaluation(
        scores=scores | {"accuracy": sum(a == b for a, b in pairs) / len(pairs), "loss": loss},
        classes=classes,
        predictions=[
            {"tokens": row.tokens, "expected": row.tags, "predicted": answer} for row, answer in zip(rows, answers, strict=True)
        ],
    )


def _tag(
    model: Any, examples: Encoded, batch_size: int, device: str, tags: Sequence[str], rows: Sequence[Sentence]
) -> tuple[list[list[str]], float]:
    """A tag for each word of each row (`O` for words that were cut off), and the mean loss a word."""
    answers: list[list[str]] = [[] for _ in rows]
    total, words = 0.0, 0
    for batch, outputs in outputs_of(model, examples, batch_size, device):
        labels = examples.batch_targets(batch, device)["labels"]
        count = int((labels != _SKIPPED).sum())
        total, words = total + float(_loss(outputs.logits, labels)) * count, words + count
        for row, found, marked in zip(batch, outputs.logits.argmax(dim=-1), labels != _SKIPPED, strict=True):
            kept = [tags[int(index)] for index in found[marked]]
            answers[row] = kept + [OUTSIDE] * (len(rows[row].tokens) - len(kept))
    return answers, total / max(words, 1)
