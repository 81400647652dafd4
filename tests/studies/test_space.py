from __future__ import annotations

from typing import Any

import pytest

from studies.errors import InvalidInput
from studies.space import Choice, Fixed, FloatRange, IntRange, active, contains, nearest, number, parse_space
from studies.text_classification import DEFINITION

SEARCHED = {"epochs": {"min": 1, "max": 5}}


def parse(raw: dict[str, Any], blocks: int | None = 6) -> dict[str, Any]:
    return parse_space(raw, DEFINITION.hyperparameters, blocks=blocks)


def error_of(raw: dict[str, Any], blocks: int | None = 6) -> str:
    with pytest.raises(InvalidInput) as caught:
        parse(raw, blocks)
    return str(caught.value)


def test_the_example_of_the_contract() -> None:
    space = parse(
        {
            "momentum": {"min": 0.5, "max": 0.99, "when": {"optimizer": "sgd"}},
            "learning_rate": {"min": "1e-6", "max": 1e-3, "log": True},
            "batch_size": {"values": [8, 16]},
            "frozen_layers": {"min": 0, "max": "all"},
            "optimizer": {"values": ["adamw", "sgd"]},
            "weight_decay": {"value": 0.01},
        }
    )
    assert space["learning_rate"] == FloatRange(min=1e-6, max=1e-3, log=True)
    assert space["batch_size"] == Choice(values=(8, 16))
    assert space["frozen_layers"] == IntRange(min=0, max=6)
    assert space["weight_decay"] == Fixed(value=0.01)
    assert space["momentum"].when == {"optimizer": ("sgd",)}
    assert list(space).index("optimizer") < list(space).index("momentum")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"lr": {"value": 1}}, "parameters.lr: unknown parameter; known: accumulation, batch_size, "),
        ({"epochs": 3}, "parameters.epochs: must be an object"),
        ({"epochs": {"min": 5, "max": 1}}, "parameters.epochs.min: 5 is above max 1"),
        ({"epochs": {"min": 1}}, "parameters.epochs.max: is missing"),
        ({"epochs": {"min": 1, "max": 2, "values": [1]}}, "parameters.epochs: needs exactly one of"),
        ({"epochs": {"min": 1, "max": 2, "stepp": 1}}, "parameters.epochs.stepp: unknown key"),
        ({"epochs": {"min": 1.5, "max": 2}}, "parameters.epochs.min: epochs is a whole number"),
        ({"epochs": {"min": 0, "max": 2}}, "parameters.epochs.min: must be at least 1, not 0"),
        ({"epochs": {"min": 1, "max": float("nan")}}, "parameters.epochs.max: must be a finite number"),
        ({"learning_rate": {"min": 0, "max": 1, "log": True}}, "parameters.learning_rate.min: must be above 0 on a log scale"),
        ({"learning_rate": {"min": 0.0, "max": 0.1}}, "parameters.learning_rate.min: must be above 0, not 0"),
        ({"learning_rate": {"min": 1e-5, "max": 2.0}}, "parameters.learning_rate.max: must be at most 1, not 2"),
        (
            {"learning_rate": {"min": 1e-5, "max": 1e-2, "log": True, "step": 1}},
            "parameters.learning_rate.step: can't be combined",
        ),
        ({"momentum": {"min": 0.5, "max": 1.0}}, "parameters.momentum.max: must be below 1"),
        (
            {"optimizer": {"values": ["adamw", "lion"]}},
            "parameters.optimizer.values[1]: unknown value 'lion'; known: adam, adamw, sgd",
        ),
        ({"batch_size": {"values": []}}, "parameters.batch_size.values: must be a list with at least one value"),
        ({"batch_size": {"values": [8, 8]}}, "parameters.batch_size.values: names a value twice"),
        ({"batch_size": {"values": [8, "many"]}}, "parameters.batch_size.values[1]: must be a whole number"),
        ({"frozen_layers": {"min": 0, "max": 7}}, "parameters.frozen_layers.max: the model has 6 blocks"),
        ({"epochs": {"min": 1, "max": "all"}}, "parameters.epochs.max: `all` is known for frozen_layers"),
        ({"epochs": {"value": 2}}, "parameters: every parameter is fixed"),
        ({}, "parameters: is empty"),
        (
            SEARCHED | {"momentum": {"value": 0.5, "when": {"optimiser": "sgd"}}},
            "parameters.momentum.when.optimiser: names no other",
        ),
        (
            SEARCHED | {"optimizer": {"values": ["adam"]}, "momentum": {"value": 0.5, "when": {"optimizer": "sgd"}}},
            "parameters.momentum.when.optimizer: can never hold",
        ),
    ],
)
def test_what_is_wrong_is_told_at_its_field(raw: dict[str, Any], message: str) -> None:
    assert message in error_of(raw)


def test_every_wrong_parameter_is_told_at_once() -> None:
    message = error_of({"epochs": {"min": 5, "max": 1}, "lr": {"value": 1}, "batch_size": {"values": []}})
    assert [part.split(":")[0] for part in message.split("; parameters")] == [
        "parameters.epochs.min",
        ".lr",
        ".batch_size.values",
    ]


def test_conditions_in_a_circle() -> None:
    raw = {
        "epochs": {"min": 1, "max": 5, "when": {"batch_size": 8}},
        "batch_size": {"values": [8, 16], "when": {"epochs": 3}},
    }
    assert "the conditions form a circle" in error_of(raw)


def test_all_needs_a_model_whose_blocks_are_known() -> None:
    assert "parameters.frozen_layers.max: `all`" in error_of({"frozen_layers": {"min": 0, "max": "all"}}, blocks=None)


def test_numbers_written_as_text() -> None:
    assert (number("1e-6"), number("8"), number("x"), number(True)) == (1e-6, 8, None, None)


def test_active_follows_the_parents() -> None:
    momentum = FloatRange(min=0.5, max=0.9, when={"optimizer": ("sgd",)})
    assert active(momentum, {"optimizer": "sgd"})
    assert not active(momentum, {"optimizer": "adamw"})
    assert not active(momentum, {})


def test_contains_and_nearest_agree() -> None:
    rate, epochs = FloatRange(min=1e-6, max=1e-3, log=True), IntRange(min=1, max=9, step=2)
    sizes = Choice(values=(16, 32))
    assert contains(rate, 1e-4) and not contains(rate, 1.0) and not contains(epochs, 1.5)
    assert contains(sizes, 16) and not contains(sizes, 8) and not contains(Choice(values=(True,)), 1)
    assert nearest(rate, 1.0) == 1e-3
    assert nearest(epochs, 4) in (3, 5)
    assert nearest(sizes, 8) == 16
    assert nearest(Fixed(value=3), 8) == 3
    assert nearest(epochs, None) == 1
