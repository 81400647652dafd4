"""Extractive question answering for the training loop: an encoder that points at the first and last token of the answer.

A text longer than the model reads is cut into windows that overlap; each is an example, and the best answer of all counts.
"""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, PreTrainedTokenizerBase

from studies.definition import Job
from studies.errors import InvalidInput
from studies.question_answering import Question, read
from studies.training.data import Encoded, padding_of
from studies.training.models import load_classifier, load_trained
from studies.training.predict import BATCH_SIZE, outputs_of, quietly
from studies.training.settings import Settings
from studies.training.task import EVALUATION_BATCH_SIZE, Batch, Evaluation, Task

_LONGEST_ANSWER = 30  # tokens


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Questions as examples: for each window its row, and for each of its tokens where in the text it lies (None: not in it)."""

    encoded: Encoded
    rows: Sequence[int]
    offsets: Sequence[Sequence[tuple[int, int] | None]]


@dataclass(frozen=True)
class Answer:
    """The words that a model points at, and the sum of both logits."""

    text: str
    score: float


def prepare(job: Job, settings: Settings) -> Task:
    """The data, the model with a new head, and both splits as windows. Raises InvalidInput and TrialFailure."""
    splits = read(job.data, job.data_seed)
    model, tokenizer = load_classifier(
        job.model, (), max_length=settings.max_length, dropout=settings.dropout, head=AutoModelForQuestionAnswering
    )
    validation = windows(tokenizer, splits.validation)

    def evaluate(model: Any, examples: Encoded, device: str) -> Evaluation:
        return _evaluate(model, examples, validation, device, splits.validation)

    return Task(
        splits=splits,
        model=model,
        processor=tokenizer,
        training=windows(tokenizer, splits.train).encoded,
        validation=validation.encoded,
        loss=lambda outputs, targets: _loss(outputs, targets, settings.label_smoothing),
        evaluate=evaluate,
    )


def windows(tokenizer: PreTrainedTokenizerBase, questions: Sequence[Question]) -> Windows:
    """Questions with their texts, cut into windows of the tokenizer's `model_max_length` that overlap by a quarter of it.

    The targets are the first and last token of the answer; in a window that does not hold it both are the first token of all.
    """
    longest = tokenizer.model_max_length
    encoded = tokenizer(
        [_shortened(tokenizer, row.question, longest // 2) for row in questions],
        [row.context for row in questions],
        truncation="only_second",
        max_length=longest,
        stride=longest // 4,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    rows = encoded.pop("overflow_to_sample_mapping")
    places = encoded.pop("offset_mapping")
    offsets = [
        [place if part == 1 else None for place, part in zip(window, encoded.sequence_ids(index), strict=True)]
        for index, window in enumerate(places)
    ]
    ends = [_answer_tokens(window, questions[row]) for window, row in zip(offsets, rows, strict=True)]
    return Windows(
        encoded=Encoded(
            inputs={name: [torch.tensor(values) for values in encoded[name]] for name in encoded},
            targets={name: [torch.tensor(pair[i]) for pair in ends] for i, name in enumerate(("start", "end"))},
            padding=padding_of(tokenizer),
        ),
        rows=rows,
        offsets=offsets,
    )


def predict(folder: Path, inputs: Sequence[str]) -> list[dict[str, Any]]:
    """The answer to each input, a JSON object with `question` and `context`, by the model that a trial left in `folder`."""
    if not inputs:
        return []
    rows = [_question(raw) for raw in inputs]
    quietly()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = load_trained(folder, AutoModelForQuestionAnswering)
    cut = windows(tokenizer, rows)
    answers, _ = _answers(model, cut.encoded, cut, BATCH_SIZE, "cpu", rows)
    return [{"answer": answer.text, "score": answer.score} for answer in answers]


def answer_f1(expected: str, predicted: str) -> float:
    """Share of words that two answers have in common (Rajpurkar et al. 2016, SQuAD, section 6.1), 0 … 1."""
    wanted, given = normalised(expected).split(), normalised(predicted).split()
    common = (Counter(wanted) & Counter(given)).total()
    return 2 * common / (len(wanted) + len(given)) if common else float(wanted == given)


def normalised(answer: str) -> str:
    """What SQuAD compares: small letters, without punctuation, articles and surplus spaces."""
    plain = "".join(char for char in answer.lower() if char not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", plain).split())


def _question(raw: str) -> Question:
    try:
        given = json.loads(raw)
        return Question(str(given["question"]), str(given["context"]), "", -1)
    except (ValueError, KeyError, TypeError):
        raise InvalidInput.at("input", 'must be a JSON object such as {"question": "…", "context": "…"}') from None


def _shortened(tokenizer: PreTrainedTokenizerBase, question: str, tokens: int) -> str:
    """A question longer than half of what the model reads would leave no room for the text."""
    offsets = tokenizer(question, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return question if len(offsets) <= tokens else question[: offsets[tokens - 1][1]]


def _answer_tokens(window: Sequence[tuple[int, int] | None], row: Question) -> tuple[int, int]:
    end = row.start + len(row.answer)
    held = [index for index, place in enumerate(window) if place and place[0] < end and place[1] > row.start]
    whole = held and (window[held[0]] or (0, 0))[0] <= row.start and (window[held[-1]] or (0, 0))[1] >= end
    return (held[0], held[-1]) if row.start >= 0 and whole else (0, 0)


def _loss(outputs: Any, targets: Batch, smoothing: float = 0.0) -> Tensor:
    start = functional.cross_entropy(outputs.start_logits, targets["start"], label_smoothing=smoothing)
    return (start + functional.cross_entropy(outputs.end_logits, targets["end"], label_smoothing=smoothing)) / 2


def _evaluate(model: Any, examples: Encoded, cut: Windows, device: str, rows: Sequence[Question]) -> Evaluation:
    answers, loss = _answers(model, examples, cut, EVALUATION_BATCH_SIZE, device, rows)
    f1 = [answer_f1(row.answer, answer.text) for row, answer in zip(rows, answers, strict=True)]
    exact = [normalised(row.answer) == normalised(answer.text) for row, answer in zip(rows, answers, strict=True)]
    return Evaluation(
        scores={"f1": sum(f1) / len(f1), "exact_match": sum(exact) / len(exact), "loss": loss},
        predictions=[
            {"question": row.question, "context": row.context, "expected": row.answer, "predicted": answer.text, "f1": score}
            for row, answer, score in zip(rows, answers, f1, strict=True)
        ],
    )


def _answers(
    model: Any, examples: Encoded, cut: Windows, batch_size: int, device: str, rows: Sequence[Question]
) -> tuple[list[Answer], float]:
    """The best answer to each question over its windows, and the mean loss a window."""
    best = [Answer("", float("-inf"))] * len(rows)
    total = 0.0
    for batch, outputs in outputs_of(model, examples, batch_size, device):
        total += float(_loss(outputs, examples.batch_targets(batch, device))) * len(batch)
        for window, starts, ends in zip(batch, outputs.start_logits.cpu(), outputs.end_logits.cpu(), strict=True):
            row = cut.rows[window]
            found = _best_span(starts, ends, cut.offsets[window], rows[row].context)
            best[row] = max(best[row], found, key=lambda answer: answer.score)
    return best, total / len(examples)


def _best_span(starts: Tensor, ends: Tensor, offsets: Sequence[tuple[int, int] | None], context: str) -> Answer:
    inside = [index for index, place in enumerate(offsets) if place]
    if not inside:
        return Answer("", float("-inf"))
    first, last = inside[0], inside[-1] + 1
    # Every pair of a first and a last token, in this order and not too far apart.
    scores = starts[first:last, None] + ends[None, first:last]
    allowed = torch.ones_like(scores, dtype=torch.bool).triu().tril(_LONGEST_ANSWER - 1)
    start, end = divmod(int(scores.masked_fill(~allowed, float("-inf")).argmax()), last - first)
    begin, finish = offsets[first + start], offsets[first + end]
    assert begin is not None and finish is not None
    return Answer(context[begin[0] : finish[1]], float(scores[start, end]))
