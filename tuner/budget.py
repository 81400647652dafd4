"""When a study has had enough: every limit of its budget but the number of trials, which the database itself holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from studies.definition import reaches
from tuner.db.engine import Connection
from tuner.db.gain_rows import ended_since_best
from tuner.db.known_rows import known
from tuner.db.lease_rows import lease_time
from tuner.db.trial_rows import best_trial, count_at_work
from tuner.objectives import validation_scores
from tuner.records import MetricPoint, Study
from tuner.spec import direction_of, gpus_of_trial, objective_of

_LONGEST = 24.0  # hours for which it is taken for granted that hours are left


def exhausted(connection: Connection, study: Study, now: datetime) -> str | None:
    """Why no new trial may start, in words for people; None if one may."""
    return all_started(study) or limit_reached(connection, study, now)


def all_started(study: Study) -> str | None:
    """Set once the last trial exists; those that wait for another attempt still run."""
    trials = study.spec.budget.trials
    return f"the budget of {trials} trials is used up" if trials is not None and study.n_created >= trials else None


def limit_reached(connection: Connection, study: Study, now: datetime, *, ahead: timedelta = timedelta(0)) -> str | None:
    """Which limit other than the number of trials is reached: not even trials that wait may start then.

    Hours are those that will be used if what runs now goes on for `ahead`.
    """
    budget = study.spec.budget
    if budget.hours is not None and _used_up(connection, study, "hours", budget.hours, now, ahead):
        return f"trials have run for {budget.hours:g} hours"
    if budget.gpu_hours is not None and _used_up(connection, study, "gpu_hours", budget.gpu_hours, now, ahead):
        return f"{budget.gpu_hours:g} GPU-hours are used"
    maximize = direction_of(study.spec) == "maximize"
    if budget.target is not None:
        best = best_trial(connection, study.id, maximize=maximize)
        if best is not None and best.value is not None and reaches(best.value, budget.target, direction_of(study.spec)):
            return f"the target {budget.target:g} is reached by trial {best.number}"
    if budget.no_gain_in is not None and _gainless(connection, study, budget.no_gain_in):
        return f"no gain in {budget.no_gain_in} trials"
    return None


def _used_up(
    connection: Connection, study: Study, limit: Literal["hours", "gpu_hours"], allowed: float, now: datetime, ahead: timedelta
) -> bool:
    """Whether so many hours are used by `now + ahead`: counted from every lease, so not before they can be."""
    unspent = known(connection).of_study(study.id).unspent
    if limit in unspent and unspent[limit][0] <= now and now + ahead < unspent[limit][1]:
        return False
    if limit == "hours":
        used, at_most = hours(connection, study.id, now + ahead), 1
    else:
        used = gpu_hours(connection, study, now + ahead)
        at_most = max(study.spec.parallelism, count_at_work(connection, study.id)) * max(1, gpus_of_trial(study.spec, 1))
    # From now, not from then: what starts meanwhile is not among what was counted ahead.
    unspent[limit] = now, now + timedelta(hours=min((allowed - used) / at_most, _LONGEST))
    return used >= allowed


def _gainless(connection: Connection, study: Study, allowed: int) -> bool:
    """Whether so many trials have ended since the best one did: counted anew only when there can be so many."""
    facts = known(connection).of_study(study.id)
    if facts.gainless is None or facts.gainless >= allowed:
        facts.gainless = ended_since_best(connection, study.id, maximize=direction_of(study.spec) == "maximize")
    return facts.gainless >= allowed


def good_enough(study: Study, points: Sequence[MetricPoint]) -> bool:
    """Whether one of these reaches the target: its trial then ends by itself, completed, at that evaluation."""
    target, scores = study.spec.budget.target, validation_scores(points, objective_of(study.spec).metric)
    return target is not None and any(reaches(score.value, target, direction_of(study.spec)) for score in scores)


def hours(connection: Connection, study_id: str, now: datetime) -> float:
    """Hours in which at least one trial of the study ran: a pause, or a night without workers, uses up nothing."""
    seconds, until = 0.0, datetime.min.replace(tzinfo=now.tzinfo)
    for granted, ended, _ in sorted(lease_time(connection, study_id), key=lambda held: held[0]):
        seconds += max(0.0, ((ended or now) - max(granted, until)).total_seconds())
        until = max(until, ended or now)
    return seconds / 3600


def gpu_hours(connection: Connection, study: Study, now: datetime) -> float:
    """Hours for which trials of the study held GPUs, times how many each."""
    held = lease_time(connection, study.id)
    return (
        sum(((ended or now) - granted).total_seconds() * gpus_of_trial(study.spec, len(gpus)) for granted, ended, gpus in held)
        / 3600
    )
