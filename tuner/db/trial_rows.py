"""Rows of `trials`. A worker's write carries its lease in the WHERE clause of the statement that changes the row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Double,
    RowMapping,
    Select,
    and_,
    case,
    cast,
    extract,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from studies.definition import ParamValue
from tuner.db.engine import Connection
from tuner.db.extension_json import extension_from_json, extension_to_json, storable
from tuner.db.tables import UtcDateTime, studies, trials
from tuner.records import FINISHED_TRIAL_STATES, Ended, Extension, Origin, Trial, TrialState

SORTABLE = ("number", "state", "value", "epoch", "attempt", "created_at", "started_at", "finished_at", "seconds")
# An extended trial counts as it had ended until it ends anew.
_STATE = func.coalesce(trials.c.ended_state, trials.c.state)
_VALUE = case((trials.c.ended_state.is_not(None), trials.c.ended_value), else_=trials.c.value)
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
            search_attrs=storable(search_attrs),
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
    """The best value among `states`; of equal ones the earliest. One that is being extended counts as it had ended."""
    value = _VALUE.desc() if maximize else _VALUE.asc()
    query = select(trials).where(trials.c.study_id == study_id, _STATE.in_(states), _VALUE.is_not(None))
    best = _one(connection, query.order_by(value, trials.c.number).limit(1))
    return None if best is None else best.as_ended


def best_trials(connection: Connection, study_id: str, *, maximize: bool, limit: int) -> list[int]:
    """The ids of the best trials that have ended and could be extended."""
    query = select(trials.c.id).where(trials.c.study_id == study_id, trials.c.value.is_not(None))
    query = query.where(trials.c.state.in_(("completed", "pruned", "stopped")))
    value = trials.c.value.desc() if maximize else trials.c.value.asc()
    return list(connection.execute(query.order_by(value, trials.c.number).limit(limit)).scalars())


def completed_values(connection: Connection, study_ids: Sequence[str]) -> dict[str, list[float]]:
    """study id → the values of its completed trials, by number."""
    query = select(trials.c.study_id, _VALUE).where(trials.c.study_id.in_(study_ids), _STATE == "completed")
    found: dict[str, list[float]] = {study_id: [] for study_id in study_ids}
    for study_id, value in connection.execute(query.where(_VALUE.is_not(None)).order_by(trials.c.number)):
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
            attempt_at=now,
            reported_at=now,
            epoch=None,
            step=None,
        )
        .returning(*trials.c),
    )


def note_progress(
    connection: Connection, lease_id: str, *, step: int, epoch: float | None, value: float | None, now: datetime
) -> bool:
    """Keep the last report on the row while the lease is current; whether it was."""
    changes: dict[str, Any] = {"step": step, "reported_at": now}
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
    changes: dict[str, Any] = {"state": state, "finished_at": now, "reason": reason} | _end_of_attempt(connection, now)
    if value is not None:
        changes["value"] = value
    if values is not None:
        changes["values"] = storable(values)
    if failure is not None:
        changes["failure_kind"], changes["failure_message"] = failure
    if details is not None:
        changes["details"] = dict(details)
    return _one(connection, _held_by(lease_id).values(**changes).returning(*trials.c))


def put_back(connection: Connection, lease_id: str, *, lost: bool, now: datetime) -> Trial | None:
    """A running trial waits again; `lost` counts as a retry. None if the lease is not current."""
    return _one(
        connection,
        _held_by(lease_id)
        .values(state="waiting", lease_id=None, worker_id=None, retries=trials.c.retries + (1 if lost else 0), value=None)
        .values(_end_of_attempt(connection, now))
        .returning(*trials.c),
    )


def stop_trials(
    connection: Connection, study_id: str, *, states: Sequence[TrialState], reason: str, now: datetime, number: int | None = None
) -> list[Trial]:
    """End trials of `states` (one, or all of the study) as stopped; they keep their last reported value."""
    statement = update(trials).where(trials.c.study_id == study_id, trials.c.state.in_(states))
    if number is not None:
        statement = statement.where(trials.c.number == number)
    changes = {"state": "stopped", "reason": reason, "finished_at": now} | _end_of_attempt(connection, now)
    return [_trial(row) for row in connection.execute(statement.values(changes).returning(*trials.c)).mappings()]


def extend_trial(connection: Connection, trial: Trial, extension: Extension) -> Trial | None:
    """A trial that has ended waits again, for more epochs; None if it has not ended."""
    changes: dict[str, Any] = {
        "state": "waiting",
        "reason": None,
        "finished_at": None,
        "lease_id": None,
        "worker_id": None,
        "retries": 0,
        "extension": extension_to_json(extension),
        "ended_state": trial.state,
        "ended_value": trial.value,
    }
    statement = update(trials).where(trials.c.id == trial.id, trials.c.state.in_(FINISHED_TRIAL_STATES))
    return _one(connection, statement.values(changes).returning(*trials.c))


def end_extension(connection: Connection, trial: Trial, *, back_to: Ended | None = None, reason: str | None = None) -> Trial:
    """An extended trial has ended anew, or goes back to how it had ended before, for `reason`."""
    assert trial.extension is not None
    changes: dict[str, Any] = {
        "extension": extension_to_json(replace(trial.extension, before=None)),
        "ended_state": None,
        "ended_value": None,
    }
    if back_to is not None:
        changes |= {entry.name: getattr(back_to, entry.name) for entry in fields(back_to)} | {
            "values": storable(back_to.values),
            "reason": reason,
            "lease_id": None,
            "failure_kind": None,
            "failure_message": None,
        }
    ended = _one(connection, update(trials).where(trials.c.id == trial.id).values(changes).returning(*trials.c))
    assert ended is not None
    return ended


def add_details(connection: Connection, trial_id: int, details: Mapping[str, Any], values: Mapping[str, float]) -> None:
    """What a worker tells after its trial was ended by the service (pruned, stopped)."""
    changes = {"details": dict(details), "values": storable(values)}
    connection.execute(update(trials).where(trials.c.id == trial_id).values(**changes))


def set_search_attrs(connection: Connection, trial_id: int, attrs: Mapping[str, Any]) -> None:
    connection.execute(update(trials).where(trials.c.id == trial_id).values(search_attrs=storable(attrs)))


def mean_seconds(connection: Connection, study_id: str) -> float | None:
    """Mean time under leases of the trials that have ended after they had started; None if there is none."""
    query = select(func.avg(trials.c.busy_seconds)).where(trials.c.study_id == study_id)
    query = query.where(trials.c.started_at.is_not(None), trials.c.finished_at.is_not(None))
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
        return case((and_(trials.c.started_at.is_not(None), trials.c.finished_at.is_not(None)), trials.c.busy_seconds))
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


def _end_of_attempt(connection: Connection, now: datetime) -> dict[str, Any]:
    """Of a trial that a worker held until now: the time counts as busy; time in which it waits does not."""
    instant, began = literal(now, UtcDateTime), trials.c.attempt_at
    if connection.dialect.name == "postgresql":
        seconds: Any = extract("epoch", instant - began)
    else:
        seconds = func.round((func.julianday(instant) - func.julianday(began)) * 86_400, 3)
    return {"busy_seconds": trials.c.busy_seconds + func.coalesce(cast(seconds, Double), 0.0), "attempt_at": None}


def _one(connection: Connection, statement: Select[Any] | Any) -> Trial | None:
    row = connection.execute(statement).mappings().first()
    return None if row is None else _trial(row)


def _trial(row: RowMapping) -> Trial:
    entries = dict(row)
    entries["values"] = {name: float(value) for name, value in entries["values"].items()}
    entries["search_attrs"] = {
        name: float(value) if value in ("nan", "inf", "-inf") else value for name, value in entries["search_attrs"].items()
    }
    row_of_extension = entries["extension"]
    entries["extension"] = None if row_of_extension is None else extension_from_json(row_of_extension)
    for name in ("ended_state", "ended_value"):
        del entries[name]
    return Trial(**entries)
