"""Hyperparameters that several tasks understand: one place says what each means, whatever is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from studies.definition import Hyperparameter, ParamValue, Recipe
from studies.models import ModelFacts

# What the training loop itself does: every task has these.
SHARED: tuple[Hyperparameter, ...] = (
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
    Hyperparameter(
        name="train",
        kind="choice",
        default="all",
        choices=("all", "head", "norms", "bias"),
        help="What is trained of the blocks above the frozen ones: all, only their norms, only their biases, or nothing (head).",
    ),
    Hyperparameter(
        name="gradual_unfreezing",
        kind="int",
        default=0,
        low=0,
        help="In the first epoch only what is above the blocks is trained; each further epoch so many blocks more, from the top, "
        "down to the frozen ones. 0: all from the start.",
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
        name="layer_decay",
        kind="float",
        default=1.0,
        low=0,
        low_open=True,
        high=1,
        help="The learning rate of each block is that of the block above it times this; the head has the full one. 1: all alike.",
    ),
    Hyperparameter(
        name="accumulation",
        kind="int",
        default=1,
        low=1,
        help="Parts that a batch is computed in, one after the other: the same step with less memory.",
    ),
    Hyperparameter(
        name="precision",
        kind="choice",
        default="float32",
        choices=("float32", "bfloat16"),
        help="bfloat16: matrices are multiplied in it where the hardware does so natively; float32 elsewhere.",
    ),
    Hyperparameter(
        name="patience",
        kind="int",
        default=0,
        low=0,
        help="Training ends after so many evaluations in a row without a better score; 0: never before its last epoch.",
    ),
)

LORA: tuple[Hyperparameter, ...] = (
    Hyperparameter(
        name="lora_rank",
        kind="int",
        default=8,
        low=1,
        help="Rank of the matrices that `train: lora` adds; more can learn more.",
    ),
    Hyperparameter(
        name="lora_alpha",
        kind="int",
        default=16,
        low=1,
        help="What the added matrices put out counts lora_alpha / lora_rank times.",
    ),
    Hyperparameter(
        name="lora_dropout",
        kind="float",
        default=0.0,
        low=0,
        high=1,
        high_open=True,
        help="Dropout before the added matrices.",
    ),
    Hyperparameter(
        name="lora_targets",
        kind="choice",
        default="query_value",
        choices=("query_value", "attention", "all"),
        help="Which layers of each block get such matrices: those of queries and values, all of the attention, or all there are.",
    ),
)

# Of tasks that fine-tune transformers, which peft can put adapters in.
TRANSFORMER: tuple[Hyperparameter, ...] = (
    *(
        replace(
            known,
            choices=(*known.choices, "lora"),
            help="What is trained of the blocks above the frozen ones: all, only their norms, only their biases, nothing (head), "
            "or small matrices added to them (lora).",
        )
        if known.name == "train"
        else known
        for known in SHARED
    ),
    *LORA,
)

CLASS_WEIGHTS = Hyperparameter(
    name="class_weights",
    kind="choice",
    default="none",
    choices=("none", "balanced"),
    help="balanced: a training row counts the more the rarer its class is, so that every class counts alike.",
)

# Changes of training texts that leave their label as it is (Wei & Zou 2019, EDA).
TEXT_CHANGES: tuple[Hyperparameter, ...] = (
    Hyperparameter(
        name="token_drop",
        kind="float",
        default=0.0,
        low=0,
        high=0.9,
        help="Share of the tokens that are left out of a training text, other ones each time.",
    ),
    Hyperparameter(
        name="token_swap",
        kind="float",
        default=0.0,
        low=0,
        high=1,
        help="Share of the tokens of a training text that change places with one another, other ones each time.",
    ),
)

MAX_LENGTH = Hyperparameter(
    name="max_length", kind="int", default=128, low=4, help="Tokens of a text that are read; the rest is cut off."
)

# Small encoders want far larger rates than the usual 5e-5: on TREC with few rows 2e-4 … 1e-3 scored .8 where 2e-5 scored .27.
ENCODER_SPACE: Mapping[str, Mapping[str, Any]] = {
    "learning_rate": {"min": 1e-6, "max": 1e-3, "log": True},
    "batch_size": {"values": [8, 16, 32, 64]},
    "epochs": {"min": 1, "max": 5},
    "frozen_layers": {"min": 0, "max": "all"},
}


def encoder_recipes(model: ModelFacts) -> tuple[Recipe, ...]:
    """What two papers fine-tune encoders with: BERT's middle values, and ELECTRA's, whose rates rise as models get smaller."""
    small = model.hidden_size is not None and model.hidden_size <= 384
    return (
        Recipe(
            source="BERT (Devlin et al. 2019, appendix A.3)",
            params={"learning_rate": 3e-5, "batch_size": 32, "epochs": 3, "frozen_layers": 0, "optimizer": "adamw"},
        ),
        Recipe(
            source="ELECTRA (Clark et al. 2020, appendix B: small 3e-4, base 1e-4)",
            params={
                "learning_rate": 3e-4 if small else 1e-4,
                "batch_size": 32,
                "epochs": 3,
                "frozen_layers": 0,
                "warmup_ratio": 0.1,
                "weight_decay": 0.0,
                "optimizer": "adamw",
            },
        ),
    )


def with_defaults(hyperparameters: tuple[Hyperparameter, ...], **defaults: ParamValue) -> tuple[Hyperparameter, ...]:
    """The same, with other untuned defaults for the named ones: what suits one kind of model does not suit all."""
    return tuple(replace(entry, default=defaults.get(entry.name, entry.default)) for entry in hyperparameters)
