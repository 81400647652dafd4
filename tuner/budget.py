"""When a study has had enough: every limit of its budget but the number of trials, which the database itself holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from studies.definition import reaches
from tuner.db.engine import Connection
from tuner.db.lease_rows import lease_time
from tuner.db.trial_rows import best_trial, trials_of
from tuner.objectives import validation_scores
from tuner.records import MetricPoint, Study, Trial
from tuner.spec import direction_of, gpus_of_trial, objective_of


def exhausted(connection: Connection, study: Study, now: datetime) -> str | None:
    """Why no new trial may start, in words for people; None if one may."""
    return all_started(study) or limit_reached(connection, study, now)


def all_started(study: Study) -> str | None:
    """Set once the last trial exists; those that wait for another attempt still run."""
    trials = study.spec.budget.trials
    return f"the budget of {trials} trials is used up" if trials is not None and study.n_created >= trials else None


def limit_reached(connection: Connection, study: Study, now: datetime) -> str | None:
    """Which limit other than the number of trials is reached: not even trials that wait may start then."""
    budget = study.spec.budget
    if budget.hours is not None and hours(connection, study.id, now) >= budget.hours:
        return f"trials have run for {budget.hours:g} hours"
    if budget.gpu_hours is not None and gpu_hours(connection, study, now) >= budget.gpu_hours:
        return f"{budget.gpu_hours:g} GPU-hours are used"
    maximize = direction_of(study.spec) == "maximize"
    if budget.target is not None:
        best = best_trial(connection, study.id, maximize=maximize)
        if best is not None and best.value is not None and reaches(best.value, budget.target, direction_of(study.spec)):
            return f"the target {budget.target:g} is reached by trial {best.number}"
    if budget.no_gain_in is not None:
        trials = [trial.as_ended for trial in trials_of(connection, study.id)]
        if trials_since_gain(trials, maximize) >= budget.no_gain_in:
            return f"no gain in {budget.no_gain_in} trials"
    return None


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


def trials_since_gain(trials: list[Trial], maximize: bool) -> int:
    """How many trials have finished since the best one did; 0 if none has completed."""
    ended = [(trial.finished_at or trial.set_aside_at, trial) for trial in trials]
    finished = [(at, trial) for at, trial in ended if at is not None]  # one set aside has brought no gain so far
    best: float | None = None
    since = 0
    for _, trial in sorted(finished, key=lambda pair: (pair[0], pair[1].number)):
        value = trial.value if trial.state == "completed" else None
        if value is not None and (best is None or (value > best if maximize else value < best)):
            best, since = value, 0
        elif best is not None:
            since += 1
    return since
