"""What the classifiers on word vectors share: their data is labelled texts, their model a table of word vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from studies.definition import Hyperparameter
from studies.errors import InvalidInput
from studies.hyperparameters import CLASS_WEIGHTS, MAX_LENGTH, SHARED, TEXT_CHANGES, with_defaults
from studies.models import ModelFacts, model_facts, resolve

GLOVE = "builtin:glove"
MODEL_TYPE = "tuner-word-vectors"

# The words are the first layer: frozen, the vectors stay as they were trained on billions of words.
HYPERPARAMETERS: tuple[Hyperparameter, ...] = (
    *with_defaults((*SHARED, MAX_LENGTH), learning_rate=0.001, batch_size=64, epochs=10, frozen_layers=1, max_length=512),
    CLASS_WEIGHTS,
    *TEXT_CHANGES,
    Hyperparameter(name="hidden_size", kind="int", default=128, low=1, high=4096, help="Width of each layer above the vectors."),
)

SPACE: Mapping[str, Mapping[str, Any]] = {
    "learning_rate": {"min": 1e-4, "max": 1e-2, "log": True},
    "batch_size": {"values": [16, 32, 64, 128]},
    "epochs": {"min": 2, "max": 15},
    "frozen_layers": {"min": 0, "max": 1},
    "hidden_size": {"values": [64, 128, 256]},
    "dropout": {"min": 0.0, "max": 0.5},
}


def facts(reference: str, blocks: int) -> ModelFacts:
    """Facts of a table of word vectors, or of a classifier trained on one before. Raises InvalidInput at `model`."""
    found = ModelFacts(model_type=MODEL_TYPE) if resolve(reference) and reference == GLOVE else model_facts(reference)
    if found.model_type != MODEL_TYPE:
        raise InvalidInput.at("model", f"{reference!r} holds no word vectors; give {GLOVE}, or a folder that such a study left")
    return replace(found, blocks=blocks)
