"""What a study has cost so far, what it was spared, and what went wrong. Pure: records in, numbers out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tuner.comparison import flat
from tuner.records import Trial
from tuner.spec import StudySpec, gpus_of_trial

Held = tuple[datetime, datetime | None, Any]  # (granted, ended, GPUs of the worker), see `lease_rows.lease_time`


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Times are in hours of one worker, or of one GPU."""

    worker_hours: float
    gpu_hours: float
    pruning_saved_hours: float | None  # None: no trial was pruned
    activations_saved_hours: float | None  # None: no trial told
    failures: Mapping[str, int]  # kind → trials


def usage(trials: Sequence[Trial], held: Sequence[Held], spec: StudySpec, *, now: datetime) -> Usage:
    spared = [hours for trial in trials if trial.state == "pruned" and (hours := spared_by_pruning(trial)) is not None]
    cached = [hours for trial in trials if (hours := spared_by_activations(trial)) is not None]
    return Usage(
        worker_hours=sum(_hours(granted, ended, now) for granted, ended, _ in held),
        gpu_hours=sum(_hours(granted, ended, now) * gpus_of_trial(spec, len(gpus)) for granted, ended, gpus in held),
        pruning_saved_hours=sum(spared) if spared else None,
        activations_saved_hours=sum(cached) if cached else None,
        failures=dict(Counter(trial.failure_kind for trial in trials if trial.failure_kind is not None)),
    )


def spared_by_pruning(trial: Trial) -> float | None:
    """The epochs that were not trained, at the trial's own pace under its leases; None where that can't be told."""
    planned = trial.params.get("epochs")
    if not isinstance(planned, int | float) or not trial.epoch:
        return None
    return max(0.0, planned - trial.epoch) * trial.busy_seconds / 3600 / trial.epoch


def spared_by_activations(trial: Trial) -> float | None:
    """What the worker told as `prefix.saved_seconds`; None if it told nothing."""
    saved = flat(trial.details).get("prefix.saved_seconds")
    return saved / 3600 if isinstance(saved, int | float) else None


def _hours(begin: datetime, end: datetime | None, now: datetime) -> float:
    return max(0.0, ((end or now) - begin).total_seconds()) / 3600
