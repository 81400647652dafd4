"""Several objectives: what a completed trial scores on each, and which trials no other one beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from studies.definition import Direction
from studies.errors import InvalidInput
from tuner.records import MetricPoint, Trial
from tuner.spec import StudySpec, objectives_of


def validation_scores(points: Sequence[MetricPoint], metric: str) -> list[MetricPoint]:
    """What `points` say of one metric on the validation data, by step."""
    return sorted((p for p in points if p.name == metric and p.split == "validation"), key=lambda point: point.step)


def final_values(
    spec: StudySpec, trial: Trial, values: Mapping[str, float], details: Mapping[str, Any], now: datetime
) -> dict[str, float]:
    """What a trial completes with: `values` as its worker says, the last report where it does not, and costs that are objectives.

    Costs that the worker does not name are read off its `details`, or are the time under leases. Raises InvalidInput for
    an objective without a value.
    """
    found = _costs(spec, trial, details, now) | dict(values)
    leading = objectives_of(spec)[0].metric
    if leading not in found and trial.value is not None:
        found[leading] = trial.value
    lacking = _missing(spec, found)
    if lacking is not None:
        raise InvalidInput.at(f"values.{lacking}", "is missing: a completed trial has a value of the study's objective")
    return found


def _costs(spec: StudySpec, trial: Trial, details: Mapping[str, Any], now: datetime) -> dict[str, float]:
    held = trial.busy_seconds + (now - (trial.attempt_at or now)).total_seconds()
    parts = details.get("seconds")
    told: dict[str, Any] = {
        "train_seconds": parts.get("train", held) if isinstance(parts, Mapping) else held,
        "trained_parameters": details.get("trained_parameters"),
        "latency_seconds": details.get("latency_seconds"),
    }
    wanted = {objective.metric for objective in objectives_of(spec)}
    return {name: float(cost) for name, cost in told.items() if name in wanted and isinstance(cost, int | float)}


def _missing(spec: StudySpec, values: Mapping[str, float]) -> str | None:
    return next((objective.metric for objective in objectives_of(spec) if objective.metric not in values), None)


def scores(spec: StudySpec, trial: Trial) -> list[float] | None:
    """A trial's score on each objective; None if it lacks one."""
    objectives = objectives_of(spec)
    if trial.value is None or _missing(spec, {objectives[0].metric: trial.value, **trial.values}):
        return None
    return [trial.value, *(trial.values[objective.metric] for objective in objectives[1:])]


def pareto_set(spec: StudySpec, trials: Sequence[Trial]) -> list[Trial]:
    """The completed trials of which no other is at least as good on every objective and better on one; best leading score first.

    Of trials with equal scores all are in. The first is the best one by rule: the leading objective decides, then the next.
    """
    signs = [_sign(objective.direction) for objective in objectives_of(spec)]
    known: list[tuple[Trial, Sequence[float]]] = []
    for trial in trials:
        own = scores(spec, trial) if trial.state == "completed" else None
        if own is not None:
            known.append((trial, [sign * score for sign, score in zip(signs, own, strict=True)]))
    return unbeaten(known)


def unbeaten(known: Sequence[tuple[Trial, Sequence[float]]]) -> list[Trial]:
    """Of trials with their scores, of which smaller is better, those that no other one beats, in the order of their scores."""
    front = [(own, trial) for trial, own in known if not any(_beats(other, own) for _, other in known)]
    return [trial for _, trial in sorted(front, key=lambda entry: (entry[0], entry[1].number))]


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    """Smaller is better here."""
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def _sign(direction: Direction | None) -> float:
    return -1.0 if direction == "maximize" else 1.0
