"""The task `text-classification`: a text in, one of a fixed set of labels out."""

from __future__ import annotations

from studies.definition import Definition, Job, Keep, Outcome, Report
from studies.hyperparameters import MAX_LENGTH, SHARED
from studies.labelled_texts import COLUMNS, inspect


def train(job: Job, report: Report, keep: Keep) -> Outcome:
    """Fine-tune as `job` says. Raises TrialFailure."""
    # Imported here, not above: the service reads this module to check studies and must load neither torch nor transformers.
    from studies.training import loop
    from studies.training.text_classification import prepare

    return loop.train(prepare, DEFINITION.complete(job), report, keep)


DEFINITION = Definition(
    task="text-classification",
    title="Text classification: one of a fixed set of labels for each text",
    metrics={"accuracy": "maximize", "macro_f1": "maximize", "loss": "minimize"},
    columns=COLUMNS,
    hyperparameters=(*SHARED, MAX_LENGTH),
    # Small encoders want far larger rates than the usual 5e-5: on TREC with few rows 2e-4 … 1e-3 scored .8 where 2e-5 scored .27.
    default_space={
        "learning_rate": {"min": 1e-6, "max": 1e-3, "log": True},
        "batch_size": {"values": [8, 16, 32, 64]},
        "epochs": {"min": 1, "max": 5},
        "frozen_layers": {"min": 0, "max": "all"},
    },
    inspect=inspect,
    train=train,
)
