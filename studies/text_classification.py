"""The task `text-classification`: a text in, one of a fixed set of labels out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.definition import Definition, Job, Keep, Outcome, Report
from studies.hyperparameters import CLASS_WEIGHTS, ENCODER_SPACE, MAX_LENGTH, TEXT_CHANGES, TRANSFORMER, encoder_recipes
from studies.labelled_texts import COLUMNS, inspect


def train(job: Job, report: Report, keep: Keep) -> Outcome:
    """Fine-tune as `job` says. Raises TrialFailure."""
    # Imported here, not above: the service reads this module to check studies and must load neither torch nor transformers.
    from studies.training import loop
    from studies.training.text_classification import prepare

    return loop.train(prepare, DEFINITION.complete(job), report, keep)


def predict(folder: Path, inputs: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """The most probable label of each text, and its probability (0 … 1)."""
    from studies.training.text_classification import predict as run

    return run(folder, inputs)


DEFINITION = Definition(
    task="text-classification",
    title="Text classification: one of a fixed set of labels for each text",
    metrics={"accuracy": "maximize", "macro_f1": "maximize", "loss": "minimize"},
    columns=COLUMNS,
    hyperparameters=(*TRANSFORMER, MAX_LENGTH, CLASS_WEIGHTS, *TEXT_CHANGES),
    default_space=ENCODER_SPACE,
    recipes=encoder_recipes,
    inspect=inspect,
    train=train,
    predict=predict,
)
