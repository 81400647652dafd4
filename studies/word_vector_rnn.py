"""The task `word-vector-rnn`: word vectors read in both directions by a recurrent layer, a label."""

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
    from studies.training.word_vectors import prepare_rnn

    return loop.train(prepare_rnn, DEFINITION.complete(job), report, keep)


def predict(folder: Path, inputs: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """The most probable label of each text, and its probability (0 … 1)."""
    from studies.training.word_vectors import predict as run

    return run(folder, inputs)


DEFINITION = Definition(
    task="word-vector-rnn",
    title="Text classification by a recurrent network (GRU, both directions) on word vectors",
    metrics={"accuracy": "maximize", "macro_f1": "maximize", "loss": "minimize"},
    columns=COLUMNS,
    hyperparameters=HYPERPARAMETERS,
    default_space=SPACE,
    inspect=inspect,
    train=train,
    predict=predict,
    # The word vectors and the recurrent layer.
    model_facts=lambda reference: facts(reference, blocks=2),
)
