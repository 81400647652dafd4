from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies.configurations import (
    all_of,
    allowed_count,
    allowed_example,
    count,
    draw,
    fits,
    from_unit,
    nearest_allowed,
    to_unit,
    values_of,
)
from studies.constraints import Constraint, parse_constraints
from studies.definition import ParamValue
from studies.space import Choice, Fixed, FloatRange, IntRange, Parameter, Space, on_grid

NESTED: Space = {
    "a": Choice(values=(1, 2, 3)),
    "b": IntRange(min=1, max=10, step=4, when={"a": (2, 3)}),
    "c": Choice(values=("x", "y"), when={"b": (5,)}),
    "d": Fixed(value=7),
    "e": FloatRange(min=0.0, max=0.3, step=0.1),
}


def constraints(*texts: str, space: Space = NESTED) -> list[Constraint]:
    return parse_constraints(texts, space, blocks=6)


@pytest.mark.parametrize(
    ("parameter", "values"),
    [
        (IntRange(min=1, max=6, step=2), [1, 3, 5]),
        (FloatRange(min=0.0, max=0.35, step=0.1), [0.0, 0.1, 0.2, 0.3]),
        (FloatRange(min=0.5, max=0.5), [0.5]),
        (Choice(values=("a", None)), ["a", None]),
        (Fixed(value=3), [3]),
    ],
)
def test_the_values_of_a_parameter(parameter: Parameter, values: Sequence[ParamValue]) -> None:
    assert list(values_of(parameter) or ()) == values


def test_conditions_count_where_they_hold() -> None:
    everything = all_of(NESTED)
    assert everything is not None
    # a=1: nothing more; a=2 or 3: b is 1 or 9, or 5 with two c; each with four e.
    assert count(NESTED) == len(everything) == (1 + 2 * (2 + 2)) * 4
    assert len({tuple(found.items()) for found in everything}) == len(everything)
    assert all(fits(NESTED, found) for found in everything)
    assert count({**NESTED, "f": FloatRange(min=0, max=1)}) is None


def test_a_huge_space_is_counted_and_not_listed() -> None:
    huge: Space = {f"p{i}": IntRange(min=1, max=1000) for i in range(10)}
    assert count(huge) == 10**30
    assert all_of(huge) is None


def test_constraints_cut_the_space() -> None:
    some = constraints("a * b < 20", "e < 0.25")
    found = all_of(NESTED, some)
    assert found is not None
    assert allowed_count(NESTED, some) == len(found) == (1 + (2 + 2) + (1 + 2)) * 3
    assert all(constraint.holds(params) for params in found for constraint in some)


@given(st.floats(0, 1))
def test_a_share_of_a_range_is_one_of_its_values(share: float) -> None:
    for parameter in (
        IntRange(min=1, max=9, step=3),
        IntRange(min=1, max=1000, log=True),
        FloatRange(min=0.0, max=1.0, step=0.3),
        FloatRange(min=1e-6, max=1e-2, log=True),
        FloatRange(min=-1.0, max=1.0),
    ):
        value = from_unit(parameter, share)
        assert isinstance(value, int | float)
        assert fits({"p": parameter}, {"p": value}) and on_grid(parameter, value)
        step = 0.5 if isinstance(parameter, IntRange) or parameter.step else 1e-6
        assert abs(to_unit(parameter, value) - share) <= step


def test_what_does_not_exist_or_is_missing_does_not_fit() -> None:
    assert fits(NESTED, {"a": 1, "d": 7, "e": 0.1})
    assert not fits(NESTED, {"a": 1, "b": 1, "d": 7, "e": 0.1})
    assert not fits(NESTED, {"a": 2, "d": 7, "e": 0.1})
    assert not fits(NESTED, {"a": 1, "d": 7, "e": 0.9})


def test_an_allowed_example_is_found_where_chance_would_not() -> None:
    wide: Space = {"x": FloatRange(min=0.0, max=1.0), "y": FloatRange(min=0.0, max=1.0)}
    corner = constraints("x + y <= 0", space=wide)
    assert allowed_example(wide, corner) == {"x": 0.0, "y": 0.0}
    assert allowed_example(wide, constraints("x + y > 2", space=wide)) is None
    assert allowed_example(NESTED, constraints("b == 5", "a == 3")) == {"a": 3, "b": 5, "c": "x", "d": 7, "e": 0.0}


def test_the_nearest_allowed_configuration() -> None:
    params = {"a": 1, "d": 7, "e": 0.3}
    assert nearest_allowed(NESTED, constraints("e < 0.25"), dict(params)) == {"a": 1, "d": 7, "e": 0.2}
    assert nearest_allowed(NESTED, constraints("e < 0.35"), dict(params)) == params


def test_draws_are_configurations_and_keep_what_is_given() -> None:
    rng = random.Random(0)
    for _ in range(100):
        found = draw(NESTED, rng, {"a": 3, "c": "y"})
        assert fits(NESTED, found) and found["a"] == 3 and found.get("c", "y") == "y"
