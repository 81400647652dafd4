"""The task `word-vector-mlp`: the mean of a text's word vectors, two hidden layers, a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.definition import Definition, Job, Keep, Outcome, Report
from studies.labelled_texts import COLUMNS, inspect
from studies.word_vectors import HYPERPARAMETERS, SPACE, facts


def train(job: Job, report: Report, keep: Keep) -> Outcome:
    """Train as `job` says. Raises TrialFailure."""
    from studies.training import loop
    from studies.training.word_vectors import prepare_mlp

    return loop.train(prepare_mlp, DEFINITION.complete(job), report, keep)


def predict(folder: Path, inputs: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """The most probable label of each text, and its probability (0 … 1)."""
    from studies.training.word_vectors import predict as run

    return run(folder, inputs)


DEFINITION = Definition(
    task="word-vector-mlp",
    title="Text classification by a perceptron with two hidden layers on the mean of word vectors",
    metrics={"accuracy": "maximize", "macro_f1": "maximize", "loss": "minimize"},
    columns=COLUMNS,
    hyperparameters=HYPERPARAMETERS,
    default_space=SPACE,
    inspect=inspect,
    train=train,
    predict=predict,
    # The word vectors and two hidden layers.
    model_facts=lambda reference: facts(reference, blocks=3),
)
