from __future__ import annotations

from typing import Any

import pytest

from studies.constraints import Constraint, all_hold, parse_constraints
from studies.errors import InvalidInput
from studies.space import Choice, FloatRange, IntRange, Space

SPACE: Space = {
    "batch_size": Choice(values=(8, 16, 32)),
    "frozen_layers": IntRange(min=0, max=6),
    "learning_rate": FloatRange(min=1e-6, max=1e-2, log=True),
    "optimizer": Choice(values=("adamw", "sgd")),
    "momentum": FloatRange(min=0.5, max=0.99, when={"optimizer": ("sgd",)}),
    "dropout": Choice(values=(None, 0.1)),
}


def one(text: str) -> Constraint:
    return parse_constraints([text], SPACE, blocks=6)[0]


@pytest.mark.parametrize(
    ("text", "params", "holds"),
    [
        ("batch_size * (1 + blocks - frozen_layers) <= 300", {"batch_size": 32, "frozen_layers": 0}, True),
        ("batch_size * (1 + blocks - frozen_layers) <= 200", {"batch_size": 32, "frozen_layers": 0}, False),
        ("8 <= batch_size < 32", {"batch_size": 32}, False),
        ("8 <= batch_size < 32", {"batch_size": 8}, True),
        ("learning_rate / batch_size > 1e-6", {"learning_rate": 1e-4, "batch_size": 8}, True),
        ("-frozen_layers % 4 == 2 // 1", {"frozen_layers": 6}, True),
        ("optimizer != 'sgd'", {"optimizer": "sgd"}, False),
        ("1 / frozen_layers > 0", {"frozen_layers": 0}, False),  # can't be reckoned: does not hold
        ("momentum < 0.9", {"optimizer": "adamw"}, True),  # says nothing of a trial without the parameter
    ],
)
def test_a_comparison_of_arithmetic(text: str, params: dict[str, Any], holds: bool) -> None:
    assert one(text).holds(params) is holds
    assert all_hold([one(text), one("batch_size > 0")], params) is holds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "batch_size",
        "batch_size * 2",
        "__import__('os').system('true') == 0",
        "batch_size.real > 1",
        "batch_size ** 9 > 1",
        "batch_size > 1 and frozen_layers > 1",
        "(lambda: 1)() < batch_size",
        "[batch_size][0] > 1",
        "batch_size in (1, 2)",
        "f'{batch_size}' == '1'",
        "batch_size > 1j",
        "(x := batch_size) > 1",
        "batch_size > 1; 1",
        "batch_size is 1",
        "learning < 1",
        "blocks < 7",
        "optimizer < 'sgd'",
        "dropout * 2 < 1",
        "batch_size + " * 60 + "1 > 0",
        "(" * 300 + "batch_size" + ")" * 300 + " > 0",
        "batch_size > " + "1 + " * 100 + "1",
        "True < batch_size < None",
        "batch_size > 1\0",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        one(text)
    assert refusal.value.errors[0].field == "constraints[0]"


def test_the_number_of_blocks_must_be_known() -> None:
    with pytest.raises(InvalidInput, match="write a number"):
        parse_constraints(["frozen_layers < blocks"], SPACE, blocks=None)


def test_too_many_are_refused() -> None:
    with pytest.raises(InvalidInput, match="at most 50"):
        parse_constraints(["batch_size > 0"] * 51, SPACE, blocks=6)
