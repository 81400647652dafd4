"""Rows of `trials`. A worker's write carries its lease in the WHERE clause of the statement that changes the row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any, Literal

from sqlalchemy import ColumnElement, Double, RowMapping, Select, cast, extract, func, insert, or_, select, update

from studies.definition import ParamValue
from tuner.db.engine import Connection
from tuner.db.tables import studies, trials
from tuner.records import Origin, Trial, TrialState

SORTABLE = ("number", "state", "value", "epoch", "attempt", "created_at", "started_at", "finished_at", "seconds")
Comparison = Literal["<", "<=", ">", ">=", "=", "!="]


@dataclass(frozen=True)
class Condition:
    """`column compared-with value`; the column is one of SORTABLE or a parameter's name."""

    column: str
    comparison: Comparison
    value: float | str


def insert_trial(
    connection: Connection,
    *,
    study_id: str,
    number: int,
    origin: Origin,
    params: Mapping[str, ParamValue],
    search_attrs: Mapping[str, Any],
    now: datetime,
) -> Trial:
    """A new trial, waiting for a worker."""
    row = connection.execute(
        insert(trials)
        .values(
            study_id=study_id,
            number=number,
            state="waiting",
            origin=origin,
            params=dict(params),
            values={},
            attempt=0,
            retries=0,
            search_attrs=_storable(search_attrs),
            details={},
            created_at=now,
        )
        .returning(*trials.c)
    )
    return _trial(row.mappings().one())


def get_trial(connection: Connection, study_id: str, number: int) -> Trial | None:
    return _one(connection, select(trials).where(trials.c.study_id == study_id, trials.c.number == number))


def trial_of_lease(connection: Connection, lease_id: str) -> Trial | None:
    """The trial whose current (or, once finished, last) lease this is."""
    return _one(connection, select(trials).where(trials.c.lease_id == lease_id))


def next_waiting(connection: Connection, study_id: str) -> Trial | None:
    query = select(trials).where(trials.c.study_id == study_id, trials.c.state == "waiting")
    return _one(connection, query.order_by(trials.c.number).limit(1))


def trials_of(connection: Connection, study_id: str) -> list[Trial]:
    """All of a study, by number."""
    query = select(trials).where(trials.c.study_id == study_id).order_by(trials.c.number)
    return [_trial(row) for row in connection.execute(query).mappings()]


def list_trials(
    connection: Connection,
    study_id: str,
    *,
    states: Sequence[TrialState] = (),
    where: Sequence[Condition] = (),
    sort: str = "number",
    descending: bool = False,
    sort_as_text: bool = False,
    offset: int = 0,
    limit: int = 100,
) -> tuple[list[Trial], int]:
    """One page, and how many match in all. Rows without a value for `sort` come last, equal ones by number.

    `sort` is one of SORTABLE or a parameter's name; `sort_as_text` is for parameters that are no numbers.
    """
    query = select(trials).where(trials.c.study_id == study_id)
    if states:
        query = query.where(trials.c.state.in_(states))
    for condition in where:
        query = query.where(_compared(condition))
    total = connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()
    key = _column(sort, numeric=not sort_as_text)
    order = (key.is_(None), key.desc() if descending else key.asc(), trials.c.number)
    rows = connection.execute(query.order_by(*order).offset(offset).limit(limit)).mappings()
    return [_trial(row) for row in rows], total


def best_trial(
    connection: Connection, study_id: str, *, maximize: bool, states: Sequence[TrialState] = ("completed",)
) -> Trial | None:
    """The best value among `states`; of equal ones the earliest."""
    value = trials.c.value.desc() if maximize else trials.c.value.asc()
    query = select(trials).where(trials.c.study_id == study_id, trials.c.state.in_(states), trials.c.value.is_not(None))
    return _one(connection, query.order_by(value, trials.c.number).limit(1))


def completed_values(connection: Connection, study_ids: Sequence[str]) -> dict[str, list[float]]:
    """study id → the values of its completed trials, by number."""
    query = select(trials.c.study_id, trials.c.value).where(trials.c.study_id.in_(study_ids), trials.c.state == "completed")
    found: dict[str, list[float]] = {study_id: [] for study_id in study_ids}
    for study_id, value in connection.execute(query.where(trials.c.value.is_not(None)).order_by(trials.c.number)):
        found[study_id].append(value)
    return found


def start_trial(connection: Connection, trial_id: int, *, lease_id: str, worker_id: str, now: datetime) -> Trial | None:
    """Give a waiting trial to a worker, or None if it does not wait or its study has its full parallelism."""
    from_study = trials.alias()
    running = (
        select(func.count()).where(from_study.c.study_id == trials.c.study_id, from_study.c.state == "running").scalar_subquery()
    )
    return _one(
        connection,
        update(trials)
        .where(trials.c.id == trial_id, trials.c.state == "waiting", running < _parallelism())
        .values(
            state="running",
            attempt=trials.c.attempt + 1,
            lease_id=lease_id,
            worker_id=worker_id,
            started_at=func.coalesce(trials.c.started_at, now),
            epoch=None,
            step=None,
        )
        .returning(*trials.c),
    )


def note_progress(connection: Connection, lease_id: str, *, step: int, epoch: float | None, value: float | None) -> bool:
    """Keep the last report on the row while the lease is current; whether it was."""
    changes: dict[str, Any] = {"step": step}
    if epoch is not None:
        changes["epoch"] = epoch
    if value is not None:
        changes["value"] = value
    return connection.execute(_held_by(lease_id).values(**changes)).rowcount == 1


def end_trial(
    connection: Connection,
    lease_id: str,
    state: TrialState,
    *,
    now: datetime,
    value: float | None = None,
    values: Mapping[str, float] | None = None,
    reason: str | None = None,
    failure: tuple[str, str] | None = None,
    details: Mapping[str, Any] | None = None,
) -> Trial | None:
    """End a running trial under its current lease; None if that is not current. Without `value`, the last reported one stays."""
    changes: dict[str, Any] = {"state": state, "finished_at": now, "reason": reason}
    if value is not None:
        changes["value"] = value
    if values is not None:
        changes["values"] = _storable(values)
    if failure is not None:
        changes["failure_kind"], changes["failure_message"] = failure
    if details is not None:
        changes["details"] = dict(details)
    return _one(connection, _held_by(lease_id).values(**changes).returning(*trials.c))


def put_back(connection: Connection, lease_id: str, *, lost: bool) -> Trial | None:
    """A running trial waits again; `lost` counts as a retry. None if the lease is not current."""
    return _one(
        connection,
        _held_by(lease_id)
        .values(state="waiting", lease_id=None, worker_id=None, retries=trials.c.retries + (1 if lost else 0), value=None)
        .returning(*trials.c),
    )


def stop_trials(
    connection: Connection, study_id: str, *, states: Sequence[TrialState], reason: str, now: datetime, number: int | None = None
) -> list[Trial]:
    """End trials of `states` (one, or all of the study) as stopped; they keep their last reported value."""
    statement = update(trials).where(trials.c.study_id == study_id, trials.c.state.in_(states))
    if number is not None:
        statement = statement.where(trials.c.number == number)
    rows = connection.execute(statement.values(state="stopped", reason=reason, finished_at=now).returning(*trials.c))
    return [_trial(row) for row in rows.mappings()]


def add_details(connection: Connection, trial_id: int, details: Mapping[str, Any], values: Mapping[str, float]) -> None:
    """What a worker tells after its trial was ended by the service (pruned, stopped)."""
    changes = {"details": dict(details), "values": _storable(values)}
    connection.execute(update(trials).where(trials.c.id == trial_id).values(**changes))


def set_search_attrs(connection: Connection, trial_id: int, attrs: Mapping[str, Any]) -> None:
    connection.execute(update(trials).where(trials.c.id == trial_id).values(search_attrs=_storable(attrs)))


def mean_seconds(connection: Connection, study_id: str) -> float | None:
    """Mean wall time of the trials that have ended after they had started; None if there is none."""
    query = select(func.avg(_column("seconds", numeric=True))).where(trials.c.study_id == study_id)
    mean = connection.execute(query).scalar_one()
    return None if mean is None else float(mean)


def count_unfinished(connection: Connection, study_id: str) -> int:
    query = select(func.count()).where(trials.c.study_id == study_id, trials.c.state.in_(("waiting", "running")))
    return connection.execute(query).scalar_one()


def _parallelism() -> Any:
    return select(studies.c.parallelism).where(studies.c.id == trials.c.study_id).scalar_subquery()


def _held_by(lease_id: str) -> Any:
    return update(trials).where(trials.c.lease_id == lease_id, trials.c.state == "running")


def _column(name: str, *, numeric: bool) -> ColumnElement[Any]:
    if name == "seconds":
        return extract("epoch", trials.c.finished_at) - extract("epoch", trials.c.started_at)
    if name in SORTABLE:
        return trials.c[name]
    param: Any = trials.c.params[name]
    typed: ColumnElement[Any] = param.as_float() if numeric else param.as_string()
    return typed


def _compared(condition: Condition) -> ColumnElement[bool]:
    column = _column(condition.column, numeric=not isinstance(condition.value, str))
    if isinstance(condition.value, float):
        # PostgreSQL would cast the number to the column's type: 2.5 to a whole number, 1e30 to an error.
        column = cast(column, Double)
    comparisons = {
        "<": column < condition.value,
        "<=": column <= condition.value,
        ">": column > condition.value,
        ">=": column >= condition.value,
        "=": column == condition.value,
        "!=": or_(column != condition.value, column.is_(None)),
    }
    return comparisons[condition.comparison]


def _storable(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no NaN and no infinities: they are kept as the contract's strings."""
    return {name: repr(value) if isinstance(value, float) and not isfinite(value) else value for name, value in values.items()}


def _one(connection: Connection, statement: Select[Any] | Any) -> Trial | None:
    row = connection.execute(statement).mappings().first()
    return None if row is None else _trial(row)


def _trial(row: RowMapping) -> Trial:
    fields = dict(row)
    fields["values"] = {name: float(value) for name, value in fields["values"].items()}
    fields["search_attrs"] = {
        name: float(value) if value in ("nan", "inf", "-inf") else value for name, value in fields["search_attrs"].items()
    }
    return Trial(**fields)
