"""What the trials of a study add up to, as its overview shows it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select

from tuner.db.engine import Connection
from tuner.db.tables import trials
from tuner.db.trial_rows import ENDED_STATE, ENDED_VALUE


def completed_values(connection: Connection, study_ids: Sequence[str]) -> dict[str, list[float]]:
    """study id → the values of its completed trials, by number."""
    query = select(trials.c.study_id, ENDED_VALUE).where(trials.c.study_id.in_(study_ids), ENDED_STATE == "completed")
    found: dict[str, list[float]] = {study_id: [] for study_id in study_ids}
    for study_id, value in connection.execute(query.where(ENDED_VALUE.is_not(None)).order_by(trials.c.number)):
        found[study_id].append(value)
    return found


def mean_seconds(connection: Connection, study_id: str) -> float | None:
    """Mean time under leases of the trials that have ended after they had started; None if there is none."""
    query = select(func.avg(trials.c.busy_seconds)).where(trials.c.study_id == study_id)
    query = query.where(trials.c.started_at.is_not(None), trials.c.finished_at.is_not(None))
    mean = connection.execute(query).scalar_one()
    return None if mean is None else float(mean)


def saved_seconds(connection: Connection, study_id: str) -> float:
    """What stored states of frozen prefixes have saved, less what computing them took, over all trials of a study."""
    saved = trials.c.details["prefix"]["saved_seconds"].as_float()
    return float(connection.execute(select(func.sum(saved)).where(trials.c.study_id == study_id)).scalar_one() or 0.0)


def count_better(connection: Connection, study_id: str, value: float, *, maximize: bool) -> int:
    """How many completed trials have a better value than this one."""
    better = trials.c.value > value if maximize else trials.c.value < value
    query = select(func.count()).where(trials.c.study_id == study_id, trials.c.state == "completed", better)
    return connection.execute(query).scalar_one()
