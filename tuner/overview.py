"""What people ask of a study first: how far it is, what is best, by how much, and how long it will take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import accumulate

from tuner.db import overview_rows, study_rows, trial_rows
from tuner.db.engine import Connection
from tuner.objectives import pareto_set
from tuner.records import FINISHED_TRIAL_STATES, Study, Trial
from tuner.spec import direction_of, objective_of

_TREND_POINTS = 40


@dataclass(frozen=True, kw_only=True)
class Overview:
    """One study with what follows from its trials."""

    study: Study
    counts: Mapping[str, int]  # trial state → how many
    progress: float | None  # share of the budget's trials that have ended; None without such a limit
    eta_seconds: float | None  # at the pace so far; None before the first trial has ended, or without a limit on trials
    best: Trial | None
    majority: float | None  # score of always answering the commonest class
    default: Trial | None  # the untuned default, once it has a value
    saved_seconds: float | None  # by stored states of frozen prefixes, over all trials; None where many studies are asked for
    trend: Sequence[float]  # best value so far over completed trials by number, at most 40 points


def overview(connection: Connection, study: Study, *, now: datetime) -> Overview:
    saved = overview_rows.saved_seconds(connection, study.id)
    return replace(overviews(connection, [study], now=now)[0], saved_seconds=saved)


def overviews(connection: Connection, studies: Sequence[Study], *, now: datetime) -> list[Overview]:
    ids = [study.id for study in studies]
    counts, values = study_rows.counts(connection, ids), overview_rows.completed_values(connection, ids)
    return [_overview(connection, study, counts[study.id], values[study.id], now) for study in studies]


def _overview(
    connection: Connection, study: Study, counts: Mapping[str, int], values: Sequence[float], now: datetime
) -> Overview:
    ended = sum(counts[state] for state in FINISHED_TRIAL_STATES)
    total = study.spec.budget.trials
    # What the counts rule out is not looked up: a list of studies asks for many overviews at once.
    found = trial_rows.get_trial(connection, study.id, 0) if values else None
    first = found and found.as_first_ended
    return Overview(
        study=study,
        counts=counts,
        progress=None if total is None else min(1.0, ended / total),
        eta_seconds=_eta(connection, study, counts, now) if study.state == "running" and ended else None,
        best=best_of(connection, study) if ended or values else None,
        majority=study.facts.baseline.get(objective_of(study.spec).metric),
        default=first if first is not None and first.origin == "default" and first.state == "completed" else None,
        saved_seconds=None,
        trend=best_so_far(values, maximize=direction_of(study.spec) == "maximize"),
    )


def best_so_far(values: Sequence[float], *, maximize: bool) -> list[float]:
    """The running best of `values`, thinned evenly to at most 40 points; the last is always the best of all."""
    running = list(accumulate(values, max if maximize else min))
    thinning = -(-len(running) // _TREND_POINTS)
    return running[::-1][::thinning][::-1] if running else []


def pareto_of(connection: Connection, study: Study) -> list[Trial]:
    """The trials that no other one beats on every objective, the best by rule first."""
    return pareto_set(study.spec, [trial.as_ended for trial in trial_rows.trials_of(connection, study.id)])


def best_of(connection: Connection, study: Study) -> Trial | None:
    """The best completed trial; before the first has completed, the best of those that were pruned or stopped."""
    maximize = direction_of(study.spec) == "maximize"
    if study.spec.further_objectives:
        front = pareto_of(connection, study)
        if front:
            return front[0]
    completed = trial_rows.best_trial(connection, study.id, maximize=maximize)
    return completed or trial_rows.best_trial(connection, study.id, maximize=maximize, states=("pruned", "stopped"))


def _eta(connection: Connection, study: Study, counts: Mapping[str, int], now: datetime) -> float | None:
    """Trials to come, at the mean length of those that ended and as many side by side as run; running ones count for the rest."""
    total = study.spec.budget.trials
    mean = overview_rows.mean_seconds(connection, study.id)
    if total is None or mean is None:
        return None
    running, _ = trial_rows.list_trials(connection, study.id, states=["running"], limit=study.spec.parallelism)
    left = [max(0.0, mean - (trial_seconds(trial, now) or 0.0)) for trial in running]
    to_come = total - study.n_created + counts["waiting"] - trial_rows.count_set_aside(connection, study.id)
    side_by_side = max(1, min(counts["running"] or 1, study.spec.parallelism))
    return (sum(left) + to_come * mean) / side_by_side


def trial_seconds(trial: Trial, now: datetime) -> float | None:
    """Time under leases so far, waiting between them not counted; None if it never started."""
    if trial.started_at is None:
        return None
    return trial.busy_seconds + (0.0 if trial.attempt_at is None else max(0.0, (now - trial.attempt_at).total_seconds()))
