"""The task `text-classification`: a text in, one of a fixed set of labels out."""

from __future__ import annotations

from dataclasses import replace

from studies.definition import Definition, Hyperparameter, Job, Keep, Outcome, Report
from studies.labelled_texts import COLUMNS, inspect


def train(job: Job, report: Report, keep: Keep) -> Outcome:
    """Fine-tune as `job` says. Raises TrialFailure."""
    # Imported here, not above: the service reads this module to check studies and must load neither torch nor transformers.
    from studies.training import loop

    return loop.train(replace(job, params=DEFINITION.completed(job.params)), report, keep)


DEFINITION = Definition(
    task="text-classification",
    title="Text classification: one of a fixed set of labels for each text",
    metrics={"accuracy": "maximize", "macro_f1": "maximize", "loss": "minimize"},
    columns=COLUMNS,
    hyperparameters=(
        Hyperparameter(
            name="learning_rate",
            kind="float",
            default=5e-5,
            low=0,
            low_open=True,
            high=1,
            help="Largest step size; the schedule starts from it (after warm-up) and lowers it.",
        ),
        Hyperparameter(name="batch_size", kind="int", default=8, low=1, help="Examples per optimiser step."),
        Hyperparameter(
            name="epochs", kind="int", default=3, low=1, help="Passes over the training rows; the best one's weights are kept."
        ),
        Hyperparameter(
            name="frozen_layers",
            kind="int",
            default=0,
            low=0,
            help="k: the embeddings and the first k blocks are not trained; 0: everything is trained, embeddings included.",
        ),
        Hyperparameter(name="optimizer", kind="choice", default="adamw", choices=("adamw", "adam", "sgd"), help="Update rule."),
        Hyperparameter(
            name="momentum",
            kind="float",
            default=0.9,
            low=0,
            high=1,
            high_open=True,
            help="Of sgd; the other optimizers don't use it.",
        ),
        Hyperparameter(
            name="weight_decay",
            kind="float",
            default=0.0,
            low=0,
            high=1,
            help="Shrinks weight matrices at each step; biases and norms are left alone.",
        ),
        Hyperparameter(
            name="warmup_ratio",
            kind="float",
            default=0.0,
            low=0,
            high=1,
            help="Share of all steps during which the learning rate rises.",
        ),
        Hyperparameter(
            name="schedule",
            kind="choice",
            default="linear",
            choices=("linear", "cosine", "constant"),
            help="How the learning rate falls after warm-up: linearly or by a half cosine to 0, or not at all.",
        ),
        Hyperparameter(
            name="dropout",
            kind="float",
            default=None,
            low=0,
            high=1,
            high_open=True,
            help="Replaces every dropout rate of the model; not given: the model's own.",
        ),
        Hyperparameter(
            name="label_smoothing",
            kind="float",
            default=0.0,
            low=0,
            high=1,
            high_open=True,
            help="Share of the target that is spread over all classes; training only.",
        ),
        Hyperparameter(
            name="max_grad_norm", kind="float", default=1.0, low=0, help="Gradients are scaled down to this norm; 0: never."
        ),
        Hyperparameter(
            name="max_length", kind="int", default=128, low=4, help="Tokens of a text that are read; the rest is cut off."
        ),
    ),
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
