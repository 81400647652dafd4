"""How many studies and trials there are, over all: what monitoring asks."""

from __future__ import annotations

from sqlalchemy import func, select

from tuner.db.engine import Connection
from tuner.db.tables import studies, trials


def count_studies(connection: Connection) -> dict[str, int]:
    """Studies by state."""
    rows = connection.execute(select(studies.c.state, func.count()).group_by(studies.c.state))
    return {state: count for state, count in rows}


def count_all_trials(connection: Connection) -> dict[str, int]:
    """Trials of all studies by state."""
    rows = connection.execute(select(trials.c.state, func.count()).group_by(trials.c.state))
    return {state: count for state, count in rows}


def count_failures(connection: Connection) -> dict[str, int]:
    """Trials of all studies that failed, by kind."""
    failed = select(trials.c.failure_kind, func.count()).where(trials.c.failure_kind.is_not(None))
    return {kind: count for kind, count in connection.execute(failed.group_by(trials.c.failure_kind))}
