from __future__ import annotations

from studies.space import FloatRange, IntRange, parse_space
from studies.text_classification import DEFINITION


def test_untuned_defaults_are_those_of_training_arguments() -> None:
    defaults = DEFINITION.completed({})
    assert defaults["learning_rate"] == 5e-5
    assert (defaults["batch_size"], defaults["epochs"], defaults["frozen_layers"]) == (8, 3, 0)
    assert (defaults["optimizer"], defaults["schedule"], defaults["warmup_ratio"]) == ("adamw", "linear", 0.0)
    assert (defaults["weight_decay"], defaults["max_grad_norm"], defaults["label_smoothing"]) == (0.0, 1.0, 0.0)


def test_the_default_space_is_legal_and_reaches_large_rates() -> None:
    space = parse_space(DEFINITION.default_space, DEFINITION.hyperparameters, blocks=6)
    assert space["learning_rate"] == FloatRange(min=1e-6, max=1e-3, log=True)
    assert space["frozen_layers"] == IntRange(min=0, max=6)
    assert set(space) == {"learning_rate", "batch_size", "epochs", "frozen_layers"}


def test_every_default_is_legal() -> None:
    given = {name: {"value": value} for name, value in DEFINITION.completed({}).items() if value is not None}
    # One searched parameter, since a space with nothing to search is refused.
    assert parse_space(given | {"epochs": {"min": 1, "max": 2}}, DEFINITION.hyperparameters, blocks=None)


def test_metrics_say_what_better_means() -> None:
    assert DEFINITION.metrics == {"accuracy": "maximize", "macro_f1": "maximize", "loss": "minimize"}
