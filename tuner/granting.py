"""What a worker is given: the trial of a study that should run next, under a lease of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from studies.definition import ParamValue
from tuner.budget import limit_reached
from tuner.db import checkpoint_rows, lease_rows, study_rows, trial_rows
from tuner.extensions import params_of_attempt
from tuner.ledger import Change
from tuner.promotion import next_to_promote, promote
from tuner.records import StoredCheckpoint, Study, Trial
from tuner.resuming import take_up
from tuner.search import draw_seed
from tuner.spec import StudySpec
from tuner.timeouts import seconds_left


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A trial given to a worker, with all that the worker needs to know."""

    id: str  # the fencing token
    attempt: int
    expires_in: float  # seconds
    study_id: str
    trial: int  # its number
    params: Mapping[str, ParamValue]
    legs: Sequence[int]  # of an extended trial: the epochs at which each run of the learning rate's schedule ends
    spec: StudySpec
    seed: int
    seconds_left: float | None  # before the trial's timeout; None: it has none
    fingerprint: str | None  # what the data must be
    resume: StoredCheckpoint | None  # where to take it up; None: from the start


def grant(change: Change, study: Study, worker_id: str, lease_id: str, *, expires_at: datetime, now: datetime) -> Trial | None:
    """Start the next trial of the study under a lease: one that waits, else a new one. None if there is none just now."""
    waiting = trial_rows.next_waiting(change.connection, study.id)
    if waiting is None:
        if limit_reached(change.connection, study, now) is not None:
            return None
        waiting = next_to_promote(change, study)
    if waiting is None:
        started = _new_trial(change, study, (lease_id, worker_id), now)
    else:
        started = trial_rows.start_trial(change.connection, waiting.id, lease_id=lease_id, worker_id=worker_id, now=now)
    if started is None:
        return None
    if waiting is not None and waiting.set_aside_at is not None:
        promote(change, study, started)
    if started.attempt > 1:
        take_up(change, study, started, now)
    lease_rows.insert_lease(
        change.connection,
        lease_id=lease_id,
        trial_id=started.id,
        attempt=started.attempt,
        worker_id=worker_id,
        now=now,
        expires_at=expires_at,
    )
    change.tell_trial(started)
    return started


def lease_of(change: Change, study: Study, trial: Trial, lease_time: timedelta) -> Lease:
    """What the worker must know of a trial that it holds."""
    fresh = trial.attempt == 1 and trial.step is None
    return Lease(
        id=trial.lease_id or "",
        attempt=trial.attempt,
        expires_in=lease_time.total_seconds(),
        study_id=study.id,
        trial=trial.number,
        params=params_of_attempt(trial),
        legs=trial.extension.legs if trial.extension else (),
        spec=study.spec,
        seed=draw_seed(study.spec.seed, trial.number),
        seconds_left=seconds_left(study, trial),
        fingerprint=study.facts.fingerprint,
        resume=None if fresh else checkpoint_rows.checkpoint_of(change.connection, trial.id),
    )


def _new_trial(change: Change, study: Study, lease: tuple[str, str], now: datetime) -> Trial | None:
    """One that runs under the lease (its id and the worker's) from the start."""
    search = change.search(study)
    if search.exhausted():
        return None
    drawn: Mapping[str, ParamValue] = {}
    if search.draws_long:
        if study_rows.startable(change.connection, study) <= change.before_it(study):
            return None  # another study may have something to do at once
        drawn = change.have_drawn(study, {})
    number = study_rows.claim_number(change.connection, study.id)
    if number is None:
        return None
    suggestion = change.ask(study, number, drawn)
    return trial_rows.insert_trial(
        change.connection,
        study_id=study.id,
        number=number,
        origin="sampled",
        params=suggestion.params,
        search_attrs=suggestion.search_attrs,
        space_version=study.space_version,
        now=now,
        lease=lease,
    )
