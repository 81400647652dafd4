"""Rows of `trials`. A worker's write carries its lease in the WHERE clause of the statement that changes the row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import cache
from typing import Any, Literal

from sqlalchemy import (
    JSON,
    ColumnElement,
    Double,
    RowMapping,
    Select,
    and_,
    bindparam,
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
from tuner.db.known_rows import known
from tuner.db.posted import posted
from tuner.db.prepared import Prepared
from tuner.db.tables import UtcDateTime, metrics, studies, trials
from tuner.records import FINISHED_TRIAL_STATES, Ended, Extension, Origin, Trial, TrialState

SORTABLE = ("number", "state", "value", "epoch", "attempt", "created_at", "started_at", "finished_at", "seconds")
# An extended trial counts as it had ended until it ends anew.
ENDED_STATE = func.coalesce(trials.c.ended_state, trials.c.state)
ENDED_VALUE = case((trials.c.ended_state.is_not(None), trials.c.ended_value), else_=trials.c.value)
Comparison = Literal["<", "<=", ">", ">=", "=", "!="]

_OF_LEASE = Prepared(select(trials).where(trials.c.lease_id == bindparam("lease")))
_NEXT_WAITING = Prepared(
    select(trials)
    .where(trials.c.study_id == bindparam("study"), trials.c.state == "waiting", trials.c.set_aside_at.is_(None))
    .order_by(trials.c.number)
    .limit(1)
)
_INSERT = Prepared(insert(trials).returning(*trials.c))
_HELD = (trials.c.lease_id == bindparam("lease"), trials.c.state == "running")
_PROGRESS = Prepared(
    update(trials)
    .where(*_HELD)
    .values(
        step=bindparam("to_step"),
        reported_at=bindparam("now", type_=UtcDateTime),
        epoch=func.coalesce(bindparam("to_epoch", type_=Double), trials.c.epoch),
        value=func.coalesce(bindparam("to_value", type_=Double), trials.c.value),
    )
)
_others = trials.alias()
_N_RUNNING = select(func.count()).where(_others.c.study_id == trials.c.study_id, _others.c.state == "running").scalar_subquery()
_PARALLELISM = select(studies.c.parallelism).where(studies.c.id == trials.c.study_id).scalar_subquery()
_START = Prepared(
    update(trials)
    .where(trials.c.id == bindparam("trial"), trials.c.state == "waiting", _N_RUNNING < _PARALLELISM)
    .values(
        state="running",
        attempt=trials.c.attempt + 1,
        lease_id=bindparam("lease"),
        worker_id=bindparam("worker"),
        started_at=func.coalesce(trials.c.started_at, bindparam("now", type_=UtcDateTime)),
        attempt_at=bindparam("now", type_=UtcDateTime),
        reported_at=bindparam("now", type_=UtcDateTime),
        epoch=None,
        step=None,
        set_aside_at=None,
        reason=None,
    )
    .returning(*trials.c)
)
_SET_ATTRS = Prepared(update(trials).where(trials.c.id == bindparam("trial")).values(search_attrs=bindparam("attrs", type_=JSON)))


@dataclass(frozen=True)
class Condition:
    """`column compared-with value`; the column is one of SORTABLE, a parameter's name, or a metric's."""

    column: str
    comparison: Comparison
    value: float | str
    split: str | None = None  # then the column is a metric of this split, of which the last number counts


def insert_trial(
    connection: Connection,
    *,
    study_id: str,
    number: int,
    origin: Origin,
    params: Mapping[str, ParamValue],
    search_attrs: Mapping[str, Any],
    space_version: int,
    now: datetime,
    lease: tuple[str, str] | None = None,
) -> Trial:
    """A new trial: running under `lease` (its id and the worker's), for which a number was claimed, or waiting for a worker."""
    lease_id, worker_id = lease or (None, None)
    started_at = None if lease is None else now
    values = {
        "study_id": study_id,
        "number": number,
        "state": "waiting" if lease is None else "running",
        "origin": origin,
        "params": dict(params),
        "values": {},
        "attempt": 0 if lease is None else 1,
        "retries": 0,
        "lease_id": lease_id,
        "worker_id": worker_id,
        "search_attrs": storable(search_attrs),
        "space_version": space_version,
        "details": {},
        "created_at": now,
        "started_at": started_at,
        "attempt_at": started_at,
        "reported_at": started_at,
    }
    trial = _trial(_INSERT.all(connection, values)[0])
    if lease is None:
        known(connection).of_study(study_id).none_waits = False
    else:
        known(connection).of_study(study_id).one_started()
    known(connection).keep_trial(trial)
    return trial


def set_ended(
    connection: Connection, trial_id: int, *, values: Mapping[str, float], failure: tuple[str, str] | None, **columns: Any
) -> None:
    """A trial that has run elsewhere, as it ended there."""
    kind, message = failure or (None, None)
    changes = {**columns, "values": storable(values), "failure_kind": kind, "failure_message": message, "attempt": 1}
    connection.execute(update(trials).where(trials.c.id == trial_id).values(**changes))


def get_trial(connection: Connection, study_id: str, number: int) -> Trial | None:
    return _one(connection, select(trials).where(trials.c.study_id == study_id, trials.c.number == number))


def trial_of_lease(connection: Connection, lease_id: str) -> Trial | None:
    """The trial whose current (or, once finished, last) lease this is."""
    trial = known(connection).trial(lease_id)
    if trial is None:
        trial = _read(_OF_LEASE.first(connection, {"lease": lease_id}))
        known(connection).keep_trial(trial)
    return trial


def next_waiting(connection: Connection, study_id: str) -> Trial | None:
    """The first that may start at once; those set aside may not."""
    facts = known(connection).of_study(study_id)
    if facts.none_waits:
        return None
    trial = _read(_NEXT_WAITING.first(connection, {"study": study_id}))
    facts.none_waits = trial is None
    return trial


def trials_of(connection: Connection, study_id: str, states: Sequence[TrialState] = ()) -> list[Trial]:
    """All of a study, or those in `states`, by number."""
    query = select(trials).where(trials.c.study_id == study_id).order_by(trials.c.number)
    query = query.where(trials.c.state.in_(states)) if states else query
    return [_trial(row) for row in connection.execute(query).mappings()]


def changed_trials(connection: Connection, study_id: str, *, since: datetime, first: int, numbers: Sequence[int]) -> list[Trial]:
    """By number: those of `numbers` and from `first` on, those that have not ended, and those that ended at `since` or later."""
    changed = or_(
        trials.c.number >= first,
        trials.c.number.in_(numbers),
        trials.c.state.in_(("waiting", "running")),
        trials.c.finished_at >= since,
    )
    query = select(trials).where(trials.c.study_id == study_id, changed).order_by(trials.c.number)
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
    value = ENDED_VALUE.desc() if maximize else ENDED_VALUE.asc()
    query = select(trials).where(trials.c.study_id == study_id, ENDED_STATE.in_(states), ENDED_VALUE.is_not(None))
    best = _one(connection, query.order_by(value, trials.c.number).limit(1))
    return None if best is None else best.as_ended


def newest_ended(connection: Connection, study_id: str, *, limit: int) -> list[Trial]:
    """Those that have ended, the newest first."""
    query = select(trials).where(trials.c.study_id == study_id, trials.c.finished_at.is_not(None))
    query = query.order_by(trials.c.finished_at.desc(), trials.c.number.desc()).limit(limit)
    return [_trial(row) for row in connection.execute(query).mappings()]


def best_trials(
    connection: Connection,
    study_id: str,
    *,
    maximize: bool,
    limit: int,
    states: Sequence[TrialState] = ("completed", "pruned", "stopped"),
) -> list[int]:
    """The ids of the best trials in these states; left out: those that have ended and could be extended."""
    query = select(trials.c.id).where(trials.c.study_id == study_id, trials.c.value.is_not(None))
    query = query.where(trials.c.state.in_(states))
    value = trials.c.value.desc() if maximize else trials.c.value.asc()
    return list(connection.execute(query.order_by(value, trials.c.number).limit(limit)).scalars())


def start_trial(connection: Connection, trial_id: int, *, lease_id: str, worker_id: str, now: datetime) -> Trial | None:
    """Give a waiting trial to a worker, or None if it does not wait or its study has its full parallelism."""
    started = _read(_START.first(connection, {"trial": trial_id, "lease": lease_id, "worker": worker_id, "now": now}))
    known(connection).keep_trial(started)
    if started is not None:
        known(connection).of_study(started.study_id).one_started()
    return started


def note_progress(
    connection: Connection, lease_id: str, *, step: int, epoch: float | None, value: float | None, now: datetime
) -> bool:
    """Keep the last report on the row while the lease is current; whether it was."""
    values = {"lease": lease_id, "to_step": step, "to_epoch": epoch, "to_value": value, "now": now}
    trial = known(connection).trial(lease_id)
    if not _PROGRESS.hits(connection, values, foreseen=trial is not None and trial.state == "running"):
        return False
    if trial is not None:
        epoch, value = trial.epoch if epoch is None else epoch, trial.value if value is None else value
        known(connection).keep_trial(replace(trial, step=step, reported_at=now, epoch=epoch, value=value))
    return True


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
        changes["values"] = storable(values)
    if failure is not None:
        changes["failure_kind"], changes["failure_message"] = failure
    if details is not None:
        changes["details"] = dict(details)
    statement = _ending(tuple(changes), connection.dialect.name)
    given = {f"to_{name}": new for name, new in changes.items()} | {"lease": lease_id, "now": now}
    held = known(connection).trial(lease_id)
    if held is not None and held.state == "running" and posted(connection) is not None:
        statement.hits(connection, given)
        busy = (now - held.attempt_at).total_seconds() if held.attempt_at else 0.0
        changes |= {"values": dict(held.values if values is None else values)}
        ended: Trial | None = replace(held, **changes, busy_seconds=held.busy_seconds + busy, attempt_at=None)
    else:
        ended = _read(statement.first(connection, given))
    known(connection).keep_trial(ended)
    if ended is not None:
        known(connection).of_study(ended.study_id).one_ended()
    return ended


def put_back(connection: Connection, lease_id: str, *, lost: bool, now: datetime) -> Trial | None:
    """A running trial waits again; `lost` counts as a retry. None if the lease is not current."""
    return _one(
        connection,
        _held_by(lease_id)
        .values(state="waiting", lease_id=None, worker_id=None, retries=trials.c.retries + (1 if lost else 0))
        .values(value=case((trials.c.set_aside_at.is_not(None), trials.c.value)))
        .values(_end_of_attempt(connection.dialect.name, literal(now, UtcDateTime)))
        .returning(*trials.c),
    )


def set_aside(connection: Connection, lease_id: str, *, reason: str, now: datetime) -> Trial | None:
    """A running trial is to wait at its rung once its worker has given it back; None if the lease is not current."""
    return _one(connection, _held_by(lease_id).values(set_aside_at=now, reason=reason).returning(*trials.c))


def let_wait_no_longer(connection: Connection, trial_id: int) -> None:
    """A trial set aside may start at once."""
    connection.execute(update(trials).where(trials.c.id == trial_id).values(set_aside_at=None, reason=None))


def prune_set_aside(connection: Connection, study_id: str, *, suffix: str, now: datetime) -> list[Trial]:
    """End those that wait to be promoted; `suffix` is cut off the reason why they waited."""
    statement = update(trials).where(trials.c.study_id == study_id, trials.c.state == "waiting")
    statement = statement.where(trials.c.set_aside_at.is_not(None))
    changes = {"state": "pruned", "finished_at": now, "reason": func.replace(trials.c.reason, suffix, "")}
    return [_trial(row) for row in connection.execute(statement.values(changes).returning(*trials.c)).mappings()]


def count_at_work(connection: Connection, study_id: str) -> int:
    """Trials that run, or wait for no more than a worker."""
    query = select(func.count()).where(trials.c.study_id == study_id, trials.c.state.in_(("waiting", "running")))
    not_aside = or_(trials.c.state == "running", trials.c.set_aside_at.is_(None))
    return connection.execute(query.where(not_aside)).scalar_one()


def count_set_aside(connection: Connection, study_id: str) -> int:
    query = select(func.count()).where(trials.c.study_id == study_id, trials.c.state == "waiting")
    return connection.execute(query.where(trials.c.set_aside_at.is_not(None))).scalar_one()


def stop_trials(
    connection: Connection, study_id: str, *, states: Sequence[TrialState], reason: str, now: datetime, number: int | None = None
) -> list[Trial]:
    """End trials of `states` (one, or all of the study) as stopped; they keep their last reported value."""
    statement = update(trials).where(trials.c.study_id == study_id, trials.c.state.in_(states))
    if number is not None:
        statement = statement.where(trials.c.number == number)
    changes = {"state": "stopped", "reason": reason, "finished_at": now}
    changes |= _end_of_attempt(connection.dialect.name, literal(now, UtcDateTime))
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
    _SET_ATTRS.hits(connection, {"trial": trial_id, "attrs": storable(attrs)})
    known(connection).keep_attrs(trial_id, attrs)


def count_unfinished(connection: Connection, study_id: str) -> int:
    query = select(func.count()).where(trials.c.study_id == study_id, trials.c.state.in_(("waiting", "running")))
    return connection.execute(query).scalar_one()


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


def _last_reported(split: str, name: str) -> ColumnElement[Any]:
    named = (metrics.c.split == split, metrics.c.name == name, metrics.c.superseded.is_(False))
    query = select(metrics.c.value).where(metrics.c.trial_id == trials.c.id, *named)
    return query.order_by(metrics.c.step.desc()).limit(1).correlate(trials).scalar_subquery()


def _compared(condition: Condition) -> ColumnElement[bool]:
    if condition.split is not None:
        column: ColumnElement[Any] = _last_reported(condition.split, condition.column)
    else:
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


@cache
def _ending(names: tuple[str, ...], dialect: str) -> Prepared:
    """The statement that ends a trial and sets the columns `names`, each to the value called `to_…`."""
    changes = {name: bindparam(f"to_{name}", type_=trials.c[name].type) for name in names}
    busy = _end_of_attempt(dialect, bindparam("now", type_=UtcDateTime))
    return Prepared(update(trials).where(*_HELD).values(changes | busy).returning(*trials.c))


def _end_of_attempt(dialect: str, instant: Any) -> dict[str, Any]:
    """Of a trial that a worker held until `instant`: the time counts as busy; time in which it waits does not."""
    began = trials.c.attempt_at
    if dialect == "postgresql":
        seconds: Any = extract("epoch", instant - began)
    else:
        seconds = func.round((func.julianday(instant) - func.julianday(began)) * 86_400, 3)
    return {"busy_seconds": trials.c.busy_seconds + func.coalesce(cast(seconds, Double), 0.0), "attempt_at": None}


def _one(connection: Connection, statement: Select[Any] | Any) -> Trial | None:
    return _read(connection.execute(statement).mappings().first())


def _read(row: Mapping[str, Any] | RowMapping | None) -> Trial | None:
    return None if row is None else _trial(row)


def _trial(row: Mapping[str, Any] | RowMapping) -> Trial:
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
