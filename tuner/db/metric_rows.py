"""Rows of `metrics` and `logs`: what a trial tells while it runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tuner.db.engine import Connection
from tuner.db.prepared import Prepared
from tuner.db.tables import logs, metrics, trials
from tuner.records import LogLine, MetricPoint

_STORE = {
    "postgresql": Prepared(postgresql.insert(metrics).on_conflict_do_nothing()),
    "sqlite": Prepared(sqlite.insert(metrics).on_conflict_do_nothing()),
}
_HELD = (trials.c.id == bindparam("trial"), trials.c.lease_id == bindparam("lease"), trials.c.state == "running")
_CURRENT = Prepared(select(trials.c.id).where(*_HELD))


def insert_metrics(
    connection: Connection,
    *,
    trial_id: int,
    attempt: int,
    points: Iterable[MetricPoint],
    now: datetime,
    reported_until: int | None = None,
) -> list[MetricPoint]:
    """Store what is not stored yet, and return just that: of a number reported twice, the first stands.

    `reported_until`: nothing of the attempt is stored beyond this step; None: that is not known.
    """
    new, keys = [], set()
    for point in points:
        key = {"split": point.split, "name": point.name, "step": point.step}
        values = {"trial_id": trial_id, "attempt": attempt, "epoch": point.epoch, "reported_at": now, "superseded": False}
        value = None if math.isnan(point.value) else point.value
        beyond = reported_until is not None and point.step > reported_until and tuple(key.values()) not in keys
        if _STORE[connection.dialect.name].hits(connection, values | key | {"value": value}, foreseen=beyond):
            new.append(point)
        keys.add(tuple(key.values()))
    return new


def supersede_metrics(connection: Connection, trial_id: int, *, after_step: int) -> int:
    """Set aside what earlier attempts reported after `after_step`, because the trial is taken up from there; how much it was."""
    statement = update(metrics).where(metrics.c.trial_id == trial_id, metrics.c.step > after_step)
    superseded: int = connection.execute(statement.where(metrics.c.superseded.is_(False)).values(superseded=True)).rowcount
    return superseded


def metrics_of(connection: Connection, trial_id: int) -> list[MetricPoint]:
    """Every point of the attempt that counts, by step."""
    query = select(metrics).where(metrics.c.trial_id == trial_id, metrics.c.superseded.is_(False))
    rows = connection.execute(query.order_by(metrics.c.step, metrics.c.split, metrics.c.name)).mappings()
    return [_point(row) for row in rows]


def metrics_of_study(
    connection: Connection, study_id: str, *, numbers: Sequence[int] | None = None
) -> dict[int, list[MetricPoint]]:
    """trial number → its points, by step."""
    query = _of_study(study_id, trials.c.number, metrics)
    if numbers is not None:
        query = query.where(trials.c.number.in_(numbers))
    found: dict[int, list[MetricPoint]] = {}
    for row in connection.execute(query).mappings():
        found.setdefault(row["number"], []).append(_point(row))
    return found


def scores_of_study(connection: Connection, study_id: str, metric: str) -> dict[int, list[MetricPoint]]:
    """trial number → what it reported of one metric in validation, by step, but for the time at which it did."""
    columns = (trials.c.number, metrics.c.step, metrics.c.epoch, metrics.c.value)
    query = _of_study(study_id, *columns).where(metrics.c.name == metric, metrics.c.split == "validation")
    found: dict[int, list[MetricPoint]] = {}
    for number, step, epoch, value in connection.execute(query):
        score = math.nan if value is None else value
        found.setdefault(number, []).append(MetricPoint(name=metric, value=score, step=step, epoch=epoch, split="validation"))
    return found


def _of_study(study_id: str, *columns: Any) -> Select[Any]:
    query = select(*columns).join(trials, trials.c.id == metrics.c.trial_id)
    query = query.where(trials.c.study_id == study_id, metrics.c.superseded.is_(False))
    return query.order_by(trials.c.number, metrics.c.step)


def has_metric(connection: Connection, study_id: str, split: str, name: str) -> bool:
    """Whether any trial of the study has reported it."""
    query = select(metrics.c.trial_id).join(trials, trials.c.id == metrics.c.trial_id)
    named = (trials.c.study_id == study_id, metrics.c.split == split, metrics.c.name == name)
    return connection.execute(query.where(*named).limit(1)).first() is not None


def metric_names(connection: Connection, study_id: str) -> list[tuple[str, str]]:
    """Every (split, name) that trials of the study have reported."""
    query = select(metrics.c.split, metrics.c.name).join(trials, trials.c.id == metrics.c.trial_id)
    rows = connection.execute(query.where(trials.c.study_id == study_id).distinct().order_by(metrics.c.split, metrics.c.name))
    return [(split, name) for split, name in rows]


def append_logs(
    connection: Connection, *, trial_id: int, attempt: int, lines: Sequence[str], after: int | None = None, now: datetime
) -> None:
    """`after` so many lines of the attempt: of these, what is there already is not added again."""
    if after is not None:
        of_attempt = select(func.count()).where(logs.c.trial_id == trial_id, logs.c.attempt == attempt)
        lines = lines[max(0, connection.execute(of_attempt).scalar_one() - after) :]
    last = connection.execute(select(func.coalesce(func.max(logs.c.seq), 0)).where(logs.c.trial_id == trial_id)).scalar_one()
    if lines:
        rows = [
            {"trial_id": trial_id, "seq": last + 1 + index, "attempt": attempt, "logged_at": now, "text": line}
            for index, line in enumerate(lines)
        ]
        connection.execute(insert(logs), rows)


def logs_of(connection: Connection, trial_id: int, *, after: int = 0, limit: int = 1000) -> list[LogLine]:
    query = select(logs.c.seq, logs.c.attempt, logs.c.logged_at, logs.c.text)
    query = query.where(logs.c.trial_id == trial_id, logs.c.seq > after).order_by(logs.c.seq).limit(limit)
    return [LogLine(**row) for row in connection.execute(query).mappings()]


def lease_is_current(connection: Connection, trial_id: int, lease_id: str) -> bool:
    """Whether the lease holds the trial, which still runs."""
    return _CURRENT.first(connection, {"trial": trial_id, "lease": lease_id}) is not None


def _point(row: Any) -> MetricPoint:
    value = math.nan if row["value"] is None else row["value"]
    place = {"step": row["step"], "epoch": row["epoch"], "split": row["split"], "reported_at": row["reported_at"]}
    return MetricPoint(name=row["name"], value=value, **place)
