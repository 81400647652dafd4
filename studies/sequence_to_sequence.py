"""The task `sequence-to-sequence`: a text in, another out, such as its translation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from studies.definition import DataFacts, DataSpec, Definition, Job, Keep, Outcome, Report
from studies.dividing import divide, texts
from studies.hyperparameters import MAX_LENGTH, TRANSFORMER
from studies.sources import read_rows
from studies.splits import Splits

COLUMNS: Mapping[str, str] = {"source": "source", "target": "target"}


class Pair(NamedTuple):
    """A text and what it is to become."""

    source: str
    target: str


def read(data: DataSpec, seed: int) -> Splits[Pair]:
    """The splits; pairs of one source are never in two of them. Raises InvalidInput."""
    columns = dict(COLUMNS) | dict(data.columns)

    def pairs(name: str, where: str) -> list[Pair]:
        rows = read_rows(name, columns, where=where)
        return [Pair(*pair) for pair in zip(texts(rows, "source"), texts(rows, "target"), strict=True)]

    return divide(data, seed, pairs, group=lambda row: row.source)


def inspect(data: DataSpec, seed: int) -> DataFacts:
    """What the data holds; BLEU and chrF of no answer are 0."""
    splits = read(data, seed)
    return DataFacts(
        train_rows=len(splits.train),
        validation_rows=len(splits.validation),
        test_rows=len(splits.test),
        fingerprint=splits.fingerprint(),
        baseline={"bleu": 0.0, "chrf": 0.0},
    )


def train(job: Job, report: Report, keep: Keep) -> Outcome:
    """Fine-tune as `job` says. Raises TrialFailure."""
    from studies.training import loop
    from studies.training.sequence_to_sequence import prepare

    return loop.train(prepare, DEFINITION.complete(job), report, keep)


def predict(folder: Path, inputs: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """What each text becomes."""
    from studies.training.sequence_to_sequence import predict as run

    return run(folder, inputs)


DEFINITION = Definition(
    task="sequence-to-sequence",
    title="Sequence to sequence: a text becomes another, such as its translation",
    metrics={"bleu": "maximize", "chrf": "maximize", "loss": "minimize"},
    columns=COLUMNS,
    hyperparameters=(*TRANSFORMER, MAX_LENGTH),
    default_space={
        "learning_rate": {"min": 1e-6, "max": 1e-3, "log": True},
        "batch_size": {"values": [8, 16, 32]},
        "epochs": {"min": 1, "max": 3},
        "label_smoothing": {"min": 0.0, "max": 0.2},
    },
    inspect=inspect,
    train=train,
    predict=predict,
)
