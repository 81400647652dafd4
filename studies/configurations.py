"""The configurations of a space: how many there are, all of them, and points of the unit cube as configurations."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType

from studies.constraints import Constraint, all_hold
from studies.definition import Definition, ParamValue
from studies.space import Choice, Fixed, FloatRange, IntRange, Parameter, Space, active, contains

# A space with more configurations than this is not enumerated: none of its trials would come to an end of it.
MOST_CONFIGURATIONS = 100_000
_DRAWS = 20_000

Configuration = dict[str, ParamValue]


def values_of(parameter: Parameter) -> Sequence[ParamValue] | None:
    """Every value that the parameter can take, in order; None if they cannot be counted."""
    if isinstance(parameter, Fixed):
        return (parameter.value,)
    if isinstance(parameter, Choice):
        return parameter.values
    if isinstance(parameter, IntRange):
        return range(parameter.min, parameter.max + 1, parameter.step)
    if parameter.min == parameter.max:
        return (parameter.min,)
    if parameter.step is None:
        return None
    # In decimals, as Optuna counts: 3 × 0.1 is 0.3.
    low, high, step = (Decimal(str(part)) for part in (parameter.min, parameter.max, parameter.step))
    return _Steps(low, step, int((high - low) // step) + 1)


def most(definition: Definition, space: Space, name: str) -> float:
    """The highest value of a number, such as `epochs`, that a trial of the space can have."""
    parameter = space.get(name)
    if isinstance(parameter, FloatRange | IntRange):
        return float(parameter.max)
    rule = definition.hyperparameter(name)
    values = parameter.values if isinstance(parameter, Choice) else [parameter.value if parameter else rule and rule.default]
    return max((float(value) for value in values if isinstance(value, int | float)), default=math.inf)


class _Steps(Sequence[ParamValue]):
    """low, low + step, …: as many as a range has, without making a list of them."""

    def __init__(self, low: Decimal, step: Decimal, length: int) -> None:
        self._low, self._step, self._length = low, step, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> ParamValue:  # type: ignore[override]
        if not 0 <= index < self._length:
            raise IndexError(index)
        return float(self._low + index * self._step)


def count(space: Space) -> int | None:
    """How many configurations the space has, constraints left aside; None if they cannot be counted."""
    sizes = {name: values_of(parameter) for name, parameter in space.items()}
    if any(values is None for values in sizes.values()):
        return None
    return _count(list(space), space, sizes, {})


def _count(names: Sequence[str], space: Space, values: Mapping[str, Sequence[ParamValue] | None], chosen: Configuration) -> int:
    """Multiplied where nothing depends on a parameter, added up over its values where something does."""
    if not names:
        return 1
    name, rest = names[0], names[1:]
    if not active(space[name], chosen):
        return _count(rest, space, values, chosen)
    own = values[name] or ()
    wanted = {value for other in rest for parent, accepted in space[other].when.items() if parent == name for value in accepted}
    if not wanted:
        return len(own) * _count(rest, space, values, chosen)
    special = [value for value in wanted if value in own]
    others = len(own) - len(special)
    total = sum(_count(rest, space, values, chosen | {name: value}) for value in special)
    # A parent with a value that no condition names: NaN equals nothing.
    return total + (others * _count(rest, space, values, chosen | {name: math.nan}) if others else 0)


def enumerate_all(space: Space, constraints: Sequence[Constraint] = ()) -> Iterator[Configuration]:
    """Every configuration that the constraints allow, the last parameter changing fastest. The space must be finite."""
    names = list(space)

    def walk(index: int, chosen: Configuration) -> Iterator[Configuration]:
        if index == len(names):
            yield dict(chosen)
            return
        name = names[index]
        if not active(space[name], chosen):
            yield from walk(index + 1, chosen)
            return
        for value in values_of(space[name]) or ():
            further = chosen | {name: value}
            if all(constraint.holds(further) for constraint in constraints if name in constraint.names):
                yield from walk(index + 1, further)

    return (found for found in walk(0, {}) if all_hold(constraints, found))


def all_of(space: Space, constraints: Sequence[Constraint] = ()) -> list[Configuration] | None:
    """Every allowed configuration as a list; None if there are too many, or no end of them."""
    size = count(space)
    if size is None or size > MOST_CONFIGURATIONS:
        return None
    return list(enumerate_all(space, constraints))


def allowed_count(space: Space, constraints: Sequence[Constraint]) -> int | None:
    """How many configurations the constraints allow; None if they cannot be counted, or are too many to try each."""
    if not constraints:
        return count(space)
    everything = all_of(space, constraints)
    return None if everything is None else len(everything)


def from_unit(parameter: FloatRange | IntRange | Choice, share: float) -> ParamValue:
    """The value so far (0 … 1) along the parameter, on its own scale; whole numbers and values have equal parts."""
    values = None if isinstance(parameter, FloatRange) and parameter.step is None else values_of(parameter)
    if isinstance(parameter, Choice) or (values is not None and not parameter.log):
        assert values is not None
        return values[min(int(share * len(values)), len(values) - 1)]
    low, high = _ends(parameter)
    value = math.exp(math.log(low) + share * (math.log(high) - math.log(low))) if parameter.log else low + share * (high - low)
    if isinstance(parameter, IntRange):
        return min(max(round(value), parameter.min), parameter.max)
    return min(max(value, parameter.min), parameter.max)


def to_unit(parameter: FloatRange | IntRange, value: float) -> float:
    """How far along the parameter a value lies, 0 … 1: what `from_unit` takes."""
    low, high = _ends(parameter)
    if low == high:
        return 0.5
    if parameter.log:
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return (value - low) / (high - low)


def _ends(parameter: FloatRange | IntRange) -> tuple[float, float]:
    """The range, with half a step at either end where there are steps, so that each value has an equal part."""
    if isinstance(parameter, FloatRange) and parameter.step is None:
        return parameter.min, parameter.max
    values = values_of(parameter)
    assert values is not None
    half = float(parameter.step or 0) / 2
    return float(values[0] or 0) - half, float(values[len(values) - 1] or 0) + half


def draw(space: Space, rng: random.Random, given: Mapping[str, ParamValue] = MappingProxyType({})) -> Configuration:
    """One configuration at random, with the values of `given`."""
    return from_cube(space, {name: rng.random() for name in space}, given)


def from_cube(space: Space, point: Mapping[str, float], given: Mapping[str, ParamValue] = MappingProxyType({})) -> Configuration:
    """The configuration at a point of the unit cube (0 where the point has no coordinate), with the values of `given`.

    Parameters that don't exist there have no part in it.
    """
    params: Configuration = {}
    for name, parameter in space.items():
        if not active(parameter, params):
            continue
        if name in given:
            params[name] = given[name]
        else:
            params[name] = parameter.value if isinstance(parameter, Fixed) else from_unit(parameter, point.get(name, 0.0))
    return params


def fits(space: Space, params: Mapping[str, ParamValue]) -> bool:
    """Whether `params` are a configuration of the space: each value in its range, none missing and none too many."""
    existing = [name for name, parameter in space.items() if active(parameter, params)]
    return params.keys() == set(existing) and all(contains(space[name], params[name]) for name in existing)


def allowed_example(space: Space, constraints: Sequence[Constraint]) -> Configuration | None:
    """A configuration that fulfils every constraint, always the same one; None if none was found.

    A small finite space is looked through; else corners and middles of the ranges and 20,000 random points are tried.
    """
    everything = count(space)
    if everything is not None and everything <= MOST_CONFIGURATIONS:
        return next(enumerate_all(space, constraints), None)
    several = [name for name, parameter in space.items() if not isinstance(parameter, Fixed)]
    corners = itertools.islice(itertools.product((0.5, 0.0, 1.0), repeat=len(several)), _DRAWS)
    tried = (from_cube(space, dict(zip(several, corner, strict=True))) for corner in corners)
    rng = random.Random(0)
    drawn = (draw(space, rng) for _ in range(_DRAWS))
    return next((params for params in itertools.chain(tried, drawn) if all_hold(constraints, params)), None)


def nearest_allowed(space: Space, constraints: Sequence[Constraint], params: Configuration) -> Configuration:
    """The allowed configuration closest to `params`, each parameter measured along its range; always the same one."""
    if all_hold(constraints, params):
        return params
    rng = random.Random(0)
    candidates = all_of(space, constraints) or [found for _ in range(_DRAWS) if all_hold(constraints, found := draw(space, rng))]
    return min(
        candidates, key=lambda found: _distance(space, params, found), default=allowed_example(space, constraints) or params
    )


def _distance(space: Space, one: Configuration, other: Configuration) -> float:
    total = 0.0
    for name in one.keys() | other.keys():
        parameter, a, b = space[name], one.get(name), other.get(name)
        if isinstance(parameter, FloatRange | IntRange) and isinstance(a, int | float) and isinstance(b, int | float):
            total += abs(to_unit(parameter, a) - to_unit(parameter, b))
        else:
            total += a != b
    return total
