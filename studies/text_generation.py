"""The task `text-generation`: a decoder learns to write texts like those it is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from studies.definition import DataFacts, DataSpec, Definition, Job, Keep, Outcome, Report
from studies.dividing import divide, texts
from studies.hyperparameters import MAX_LENGTH, TRANSFORMER
from studies.sources import read_rows
from studies.splits import Splits

COLUMNS: Mapping[str, str] = {"text": "text"}


class Text(NamedTuple):
    """One text to learn from."""

    text: str


def read(data: DataSpec, seed: int) -> Splits[Text]:
    """The splits. Raises InvalidInput."""
    columns = dict(COLUMNS) | dict(data.columns)
    return divide(data, seed, lambda name, where: [Text(text) for text in texts(read_rows(name, columns, where=where), "text")])


def inspect(data: DataSpec, seed: int) -> DataFacts:
    """What the data holds; no text can be written without a model, so there is no baseline."""
    splits = read(data, seed)
    return DataFacts(
        train_rows=len(splits.train),
        validation_rows=len(splits.validation),
        test_rows=len(splits.test),
        fingerprint=splits.fingerprint(),
    )


def train(job: Job, report: Report, keep: Keep) -> Outcome:
    """Fine-tune as `job` says. Raises TrialFailure."""
    from studies.training import loop
    from studies.training.text_generation import prepare

    return loop.train(prepare, DEFINITION.complete(job), report, keep)


def predict(folder: Path, inputs: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """How the model goes on after each text."""
    from studies.training.text_generation import predict as run

    return run(folder, inputs)


DEFINITION = Definition(
    task="text-generation",
    title="Text generation: a decoder learns to write texts like those of the data",
    metrics={"perplexity": "minimize", "loss": "minimize"},
    columns=COLUMNS,
    hyperparameters=(*TRANSFORMER, MAX_LENGTH),
    default_space={
        "learning_rate": {"min": 1e-6, "max": 1e-3, "log": True},
        "batch_size": {"values": [2, 4, 8, 16]},
        "epochs": {"min": 1, "max": 3},
        "frozen_layers": {"min": 0, "max": "all"},
    },
    inspect=inspect,
    train=train,
    predict=predict,
)
