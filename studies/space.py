"""A search space: which values each parameter may take, and under which condition it exists at all.

A parameter is one of `FloatRange`, `IntRange`, `Choice`, `Fixed`; a space maps names to parameters,
every parent before the parameters whose `when` names it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from studies.definition import Hyperparameter, ParamValue
from studies.errors import FieldError, InvalidInput, known

When = Mapping[str, tuple[ParamValue, ...]]  # parent → the values under which the parameter exists


@dataclass(frozen=True, kw_only=True)
class FloatRange:
    """Real values from `min` to `max`, both ends included."""

    min: float
    max: float
    log: bool = False
    step: float | None = None
    when: When = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class IntRange:
    """Whole values from `min` to `max`, both ends included."""

    min: int
    max: int
    log: bool = False
    step: int = 1
    when: When = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of `values`, in the order given."""

    values: tuple[ParamValue, ...]
    when: When = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """Not searched: every trial gets `value`."""

    value: ParamValue
    when: When = field(default_factory=dict)


Parameter = FloatRange | IntRange | Choice | Fixed
Space = Mapping[str, Parameter]

_KEYS = ("min", "max", "log", "step", "values", "value", "when")


def number(raw: object) -> int | float | None:
    """`raw` as a number, or None. YAML reads `1e-6` as text, so text that is a number counts as one."""
    if isinstance(raw, bool):
        return None
    if isinstance(raw, int | float):
        return raw
    if isinstance(raw, str):
        try:
            return int(raw)
        except ValueError:
            pass
        try:
            return float(raw)
        except ValueError:
            return None
    return None


def active(parameter: Parameter, params: Mapping[str, ParamValue]) -> bool:
    """Whether the parameter exists for a trial whose parents were given `params`."""
    return all(parent in params and params[parent] in values for parent, values in parameter.when.items())


def contains(parameter: Parameter, value: ParamValue) -> bool:
    """Whether `value` is one of those the parameter can take (steps are not checked)."""
    if isinstance(parameter, Fixed):
        return value == parameter.value
    if isinstance(parameter, Choice):
        return any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in parameter.values)
    as_number = number(value) if not isinstance(value, str) else None
    if as_number is None or (isinstance(parameter, IntRange) and as_number != int(as_number)):
        return False
    return parameter.min <= as_number <= parameter.max


def nearest(parameter: Parameter, value: ParamValue) -> ParamValue:
    """The legal value closest to `value`: how a default fits into a space that does not contain it."""
    if isinstance(parameter, Fixed):
        return parameter.value
    wanted = number(value)
    if isinstance(parameter, Choice):
        if contains(parameter, value) or wanted is None:
            return value if contains(parameter, value) else parameter.values[0]
        numbers = [choice for choice in parameter.values if number(choice) is not None]
        return min(numbers, key=lambda choice: abs((number(choice) or 0) - wanted), default=parameter.values[0])
    if wanted is None:
        return parameter.min
    clipped = min(max(wanted, parameter.min), parameter.max)
    if isinstance(parameter, IntRange):
        return parameter.min + round((clipped - parameter.min) / parameter.step) * parameter.step
    return float(clipped)


def nearest_on_grid(parameter: Parameter, value: ParamValue) -> ParamValue:
    """`value`, which lies in the parameter's range, moved to the closest of its steps."""
    if isinstance(value, str) or value is None or not isinstance(parameter, FloatRange | IntRange):
        return value
    if parameter.step is None:
        return float(value)
    if isinstance(parameter, IntRange) and parameter.step == 1:
        return round(value)
    return after_steps(parameter, round((value - parameter.min) / parameter.step))


def on_grid(parameter: Parameter, value: ParamValue) -> bool:
    """Whether `value` is one of the parameter's steps, but for rounding."""
    nearest = nearest_on_grid(parameter, value)
    return nearest == value or (isinstance(nearest, float) and isinstance(value, float) and math.isclose(nearest, value))


def after_steps(parameter: FloatRange | IntRange, steps: float) -> int | float:
    """The value so many steps above the smallest one, or the highest there is. In decimals, as Optuna counts: 3 × 0.1 is 0.3."""
    low, high, step = (Decimal(str(part)) for part in (parameter.min, parameter.max, parameter.step))
    reached = low + min(Decimal(steps), (high - low) // step) * step
    return int(reached) if isinstance(parameter, IntRange) else float(reached)


def parse_space(
    raw: Mapping[str, Any], hyperparameters: tuple[Hyperparameter, ...], *, blocks: int | None
) -> dict[str, Parameter]:
    """Read the `parameters` of a study file.

    `blocks` is the number of the model's blocks, what `max: all` of `frozen_layers` stands for.
    Raises InvalidInput naming every wrong field.
    """
    errors: list[FieldError] = []
    by_name = {entry.name: entry for entry in hyperparameters}
    space: dict[str, Parameter] = {}
    for name, body in raw.items():
        where = f"parameters.{name}"
        if name not in by_name:
            errors.append(FieldError(where, f"unknown parameter; {known(list(by_name))}"))
            continue
        try:
            parameter = _parse(where, body, blocks if name == "frozen_layers" else None)
            _check_legal(where, parameter, by_name[name], blocks)
            space[name] = parameter
        except InvalidInput as error:
            errors.extend(error.errors)
    if not raw:
        errors.append(FieldError("parameters", "is empty; name at least one parameter to search, or write `auto`"))
    elif not errors and all(isinstance(parameter, Fixed) for parameter in space.values()):
        errors.append(FieldError("parameters", "every parameter is fixed: give at least one of them a range or values"))
    if not errors:
        errors.extend(_check_conditions(space))
    if errors:
        raise InvalidInput(errors)
    return _parents_first(space)


def _parse(where: str, body: object, blocks: int | None) -> Parameter:
    if not isinstance(body, Mapping):
        raise InvalidInput.at(where, "must be an object such as {min: 1, max: 5}, {values: [8, 16]} or {value: 0.01}")
    unknown = [str(key) for key in body if key not in _KEYS]
    if unknown:
        raise InvalidInput.at(f"{where}.{unknown[0]}", f"unknown key; {known(_KEYS)}")
    shapes = [shape for shape in ("value", "values", "min") if shape in body or (shape == "min" and "max" in body)]
    if len(shapes) != 1:
        raise InvalidInput.at(where, "needs exactly one of: `value`, `values`, or `min` with `max`")
    when = _parse_when(f"{where}.when", body.get("when", {}))
    for key in ("log", "step"):
        if key in body and shapes[0] != "min":
            raise InvalidInput.at(f"{where}.{key}", "only goes with `min` and `max`")
    if shapes[0] == "value":
        return Fixed(value=_scalar(f"{where}.value", body["value"]), when=when)
    if shapes[0] == "values":
        return _parse_choice(f"{where}.values", body["values"], when)
    return _parse_range(where, body, blocks, when)


def _parse_choice(where: str, values: object, when: When) -> Choice:
    if not isinstance(values, list | tuple) or not values:
        raise InvalidInput.at(where, "must be a list with at least one value")
    parsed = tuple(_scalar(f"{where}[{index}]", value) for index, value in enumerate(values))
    if len({(type(value), value) for value in parsed}) < len(parsed):
        raise InvalidInput.at(where, "names a value twice; give each once")
    return Choice(values=parsed, when=when)


def _parse_range(where: str, body: Mapping[str, Any], blocks: int | None, when: When) -> FloatRange | IntRange:
    ends = {}
    for end in ("min", "max"):
        if end not in body:
            raise InvalidInput.at(f"{where}.{end}", "is missing: a range needs both `min` and `max`")
        ends[end] = _range_end(f"{where}.{end}", body[end], blocks)
    low, high = ends["min"], ends["max"]
    if low > high:
        raise InvalidInput.at(f"{where}.min", f"{low} is above max {high}; swap them")
    log = body.get("log", False)
    if not isinstance(log, bool):
        raise InvalidInput.at(f"{where}.log", "must be true or false")
    if log and low <= 0:
        raise InvalidInput.at(f"{where}.min", f"must be above 0 on a log scale, not {low}; for example 1e-6")
    step = number(body["step"]) if body.get("step") is not None else None
    if body.get("step") is not None and (step is None or not _finite(step) or step <= 0):
        raise InvalidInput.at(f"{where}.step", "must be a number above 0")
    if log and step is not None:
        raise InvalidInput.at(f"{where}.step", "can't be combined with `log: true`; leave one of them out")
    if isinstance(low, int) and isinstance(high, int):
        if step is not None and step != int(step):
            raise InvalidInput.at(f"{where}.step", "must be whole where min and max are whole")
        return IntRange(min=low, max=high, log=log, step=int(step or 1), when=when)
    return FloatRange(min=float(low), max=float(high), log=log, step=None if step is None else float(step), when=when)


def _range_end(where: str, raw: object, blocks: int | None) -> int | float:
    if raw == "all":
        if blocks is None:
            raise InvalidInput.at(
                where, "`all` is known for frozen_layers of a model whose blocks can be counted; write a number"
            )
        return blocks
    value = number(raw)
    if value is None or not _finite(value):
        raise InvalidInput.at(where, f"must be a finite number, not {raw!r}")
    return value


def _finite(value: int | float) -> bool:
    """Whole numbers count up to 2⁵³: beyond, neither JSON readers nor floats keep them exactly."""
    return abs(value) <= 2**53 if isinstance(value, int) else math.isfinite(value)


def _scalar(where: str, raw: object) -> ParamValue:
    if raw is None or isinstance(raw, bool):
        return raw
    if isinstance(raw, int | float):
        if not _finite(raw):
            raise InvalidInput.at(where, f"must be a finite number, not {raw!r}")
        return raw
    if isinstance(raw, str):
        as_number = number(raw)
        return as_number if as_number is not None and _finite(as_number) else raw
    raise InvalidInput.at(where, "must be text, a number, true, false or null")


def _parse_when(where: str, raw: object) -> dict[str, tuple[ParamValue, ...]]:
    if not isinstance(raw, Mapping):
        raise InvalidInput.at(where, "must map a parameter to a value or a list of values, e.g. {optimizer: sgd}")
    conditions = {}
    for parent, values in raw.items():
        listed = values if isinstance(values, list | tuple) else [values]
        conditions[str(parent)] = tuple(_scalar(f"{where}.{parent}", value) for value in listed)
    return conditions


def _check_legal(where: str, parameter: Parameter, rule: Hyperparameter, blocks: int | None) -> None:
    """Every value that could be drawn must be one that the task can train with."""
    if isinstance(parameter, FloatRange | IntRange):
        if rule.kind == "choice":
            raise InvalidInput.at(where, f"takes values, not a range; {known([str(choice) for choice in rule.choices])}")
        if rule.kind == "int" and isinstance(parameter, FloatRange):
            raise InvalidInput.at(f"{where}.min", f"{rule.name} is a whole number; write min and max without a fraction")
        _check_value(f"{where}.min", parameter.min, rule, blocks)
        _check_value(f"{where}.max", parameter.max, rule, blocks)
        return
    values = parameter.values if isinstance(parameter, Choice) else (parameter.value,)
    for index, value in enumerate(values):
        _check_value(f"{where}.values[{index}]" if isinstance(parameter, Choice) else f"{where}.value", value, rule, blocks)


def _check_value(where: str, value: ParamValue, rule: Hyperparameter, blocks: int | None) -> None:
    if rule.kind == "choice":
        if value not in rule.choices:
            raise InvalidInput.at(where, f"unknown value {value!r}; {known([str(choice) for choice in rule.choices])}")
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or (rule.kind == "int" and value != int(value)):
        raise InvalidInput.at(where, f"must be {'a whole' if rule.kind == 'int' else 'a'} number, not {value!r}")
    if rule.low is not None and (value < rule.low or (rule.low_open and value == rule.low)):
        raise InvalidInput.at(where, f"must be {'above' if rule.low_open else 'at least'} {rule.low:g}, not {value!r}")
    if rule.high is not None and (value > rule.high or (rule.high_open and value == rule.high)):
        raise InvalidInput.at(where, f"must be {'below' if rule.high_open else 'at most'} {rule.high:g}, not {value!r}")
    if rule.name == "frozen_layers" and blocks is not None and value > blocks:
        raise InvalidInput.at(where, f"the model has {blocks} blocks, so at most {blocks} (or `all`) can be frozen, not {value}")


def _check_conditions(space: Mapping[str, Parameter]) -> list[FieldError]:
    errors = []
    for name, parameter in space.items():
        for parent, values in parameter.when.items():
            where = f"parameters.{name}.when.{parent}"
            if parent not in space or parent == name:
                errors.append(
                    FieldError(where, f"names no other parameter of this study; {known([p for p in space if p != name])}")
                )
            elif not any(contains(space[parent], value) for value in values):
                errors.append(FieldError(where, f"can never hold: {parent} never takes {', '.join(map(str, values))}"))
    return errors


def _parents_first(space: Mapping[str, Parameter]) -> dict[str, Parameter]:
    ordered: dict[str, Parameter] = {}
    waiting = dict(space)
    while waiting:
        ready = [name for name, parameter in waiting.items() if all(parent in ordered for parent in parameter.when)]
        if not ready:
            raise InvalidInput.at(f"parameters.{next(iter(waiting))}.when", "the conditions form a circle")
        for name in ready:
            ordered[name] = waiting.pop(name)
    return ordered
