"""`state`, `where`, `sort` and `fields` of lists, read by hand: nothing that a client sends is ever evaluated."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, Protocol, TypeVar, cast

from studies.catalog import definition
from studies.errors import InvalidInput, known
from tuner.db.trial_rows import SORTABLE, Comparison, Condition
from tuner.records import TRIAL_STATES, Study
from tuner.spec import space_of

Kind = Literal["number", "text", "time"]
State = TypeVar("State", bound=str)

_CONDITION = re.compile(r"\s*([^<>=!]+?)\s*(<=|>=|!=|<|>|=)\s*([^<>=!]+?)\s*")
_COLUMNS: Mapping[str, Kind] = {
    "number": "number",
    "value": "number",
    "epoch": "number",
    "attempt": "number",
    "seconds": "number",
    "state": "text",
    "created_at": "time",
    "started_at": "time",
    "finished_at": "time",
}


def read_states(given: Sequence[str], allowed: Sequence[State]) -> list[State]:
    """`state=a&state=b` or `state=a,b`. Raises InvalidInput."""
    names = [name.strip() for part in given for name in part.split(",")]
    for name in names:
        if name not in allowed:
            raise InvalidInput.at("state", f"unknown state {name!r}; {known(allowed)}")
    return cast("list[State]", names)


class ReportedMetrics(Protocol):
    """Which metrics the trials of a study have reported. To list them all takes long where there are many points."""

    def has(self, split: str, name: str) -> bool: ...

    def all(self) -> Collection[tuple[str, str]]: ...


def read_where(where: str | None, study: Study, metrics: ReportedMetrics) -> list[Condition]:
    """`value>0.8,learning_rate<1e-4,loss<0.3,train/loss<0.1`: all must hold; of each metric the last number counts.

    Raises InvalidInput.
    """
    columns = {name: kind for name, kind in _columns(study).items() if kind != "time"}
    return [_condition(part, columns, metrics) for part in where.split(",")] if where is not None else []


def read_sort(sort: str, study: Study) -> tuple[str, bool, bool]:
    """(column, descending, whether it is text) of `value` or, descending, `-value`. Raises InvalidInput."""
    column, columns = sort.removeprefix("-"), _columns(study)
    if column not in columns:
        raise InvalidInput.at("sort", f"unknown column {column!r}; {known(list(columns))}")
    return column, sort.startswith("-"), columns[column] == "text" and column not in SORTABLE


def read_fields(fields: str | None, allowed: Collection[str]) -> set[str] | None:
    """The keys that an item should have; None: all. Raises InvalidInput."""
    if fields is None:
        return None
    names = [name.strip() for name in fields.split(",")]
    for name in names:
        if name not in allowed:
            raise InvalidInput.at("fields", f"unknown field {name!r}; {known(list(allowed))}")
    return set(names)


def _columns(study: Study) -> dict[str, Kind]:
    rules = definition(study.spec.task)
    space = space_of(study.spec, study.facts.blocks)
    params: dict[str, Kind] = {}
    for name in space:
        rule = rules.hyperparameter(name)
        params[name] = "text" if rule is not None and rule.kind == "choice" else "number"
    return params | dict(_COLUMNS)


def _condition(part: str, columns: Mapping[str, Kind], metrics: ReportedMetrics) -> Condition:
    match = _CONDITION.fullmatch(part)
    if match is None:
        raise InvalidInput.at("where", f"{part!r} is no condition; write for example value>0.8,learning_rate<1e-4")
    column, comparison, value = match.groups()
    if column not in columns:
        split, name = _metric(column, columns, metrics)
        return Condition(name, cast("Comparison", comparison), _number(column, value), split)
    if columns[column] == "number":
        return Condition(column, cast("Comparison", comparison), _number(column, value))
    if comparison not in ("=", "!="):
        raise InvalidInput.at("where", f"{column} is text, which is compared with = or !=, not {comparison}")
    if column == "state":
        read_states([value], TRIAL_STATES)
    return Condition(column, cast("Comparison", comparison), value)


def _metric(column: str, columns: Collection[str], metrics: ReportedMetrics) -> tuple[str, str]:
    """(split, name) of `loss`, which is of the validation split, or `train/loss`."""
    split, _, name = column.partition("/")
    for found in ("validation", column), (split, name):
        if metrics.has(*found):
            return found
    reported = {name if split == "validation" else f"{split}/{name}" for split, name in metrics.all()}
    raise InvalidInput.at("where", f"unknown column {column!r}; {known(sorted(reported | set(columns)))}")


def _number(column: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise InvalidInput.at("where", f"{column} is compared with a number, not {value!r}")
    return number
