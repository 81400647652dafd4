"""When a trial has taken too long: a worker kills it then, and the service fails it a little later where no worker does."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from tuner.db import study_rows, trial_rows
from tuner.db.engine import Connection
from tuner.overview import trial_seconds
from tuner.records import Study, Trial

log = structlog.get_logger()


def seconds_left(study: Study, trial: Trial) -> float | None:
    """For the attempt that begins now; None without such a timeout."""
    limit = study.spec.timeouts.trial_seconds
    return None if limit is None else max(0.0, limit - trial.busy_seconds)


def overdue_trials(connection: Connection, *, since: datetime, slack: timedelta, now: datetime) -> list[tuple[Study, Trial, str]]:
    """Running trials that are over a timeout by more than `slack`, each with the reason."""
    found = []
    for study in study_rows.running_studies(connection):
        timeouts = study.spec.timeouts
        if timeouts.trial_seconds is None and timeouts.no_progress_seconds is None:
            continue
        running, _ = trial_rows.list_trials(connection, study.id, states=("running",), limit=study.spec.parallelism)
        late = slack.total_seconds()
        for trial in running:
            silent = (now - max(since, trial.reported_at or since)).total_seconds()
            why = timeouts.exceeded(seconds=(trial_seconds(trial, now) or 0.0) - late, silent=silent - late)
            if why is not None:
                found.append((study, trial, why))
    return found


def log_lost(trial: Trial, worker_id: str) -> None:
    """One line for a trial whose worker has been silent for too long."""
    names = {"study": trial.study_id, "trial": trial.number, "attempt": trial.attempt}
    log.warning("a trial's worker is silent; the trial is taken back", worker=worker_id, **names)
