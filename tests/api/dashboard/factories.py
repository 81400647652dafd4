"""Records as the database would give them, for figures and pages."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from api.dashboard.figures import FigureInput
from studies.definition import ParamValue
from tuner.records import Attempt, Facts, MetricPoint, Origin, Study, Trial, TrialState, Worker
from tuner.spec import parse

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

PARAMETERS: Mapping[str, Any] = {
    "learning_rate": {"min": 1e-6, "max": 1e-3, "log": True},
    "batch_size": {"values": [8, 16, 32, 64]},
    "epochs": {"min": 1, "max": 5},
    "optimizer": {"values": ["adamw", "sgd"]},
    "momentum": {"min": 0.5, "max": 0.99, "when": {"optimizer": "sgd"}},
    "weight_decay": {"value": 0.01},
}


def a_study(*, direction: str = "maximize", **changes: Any) -> Study:
    spec = parse(
        {
            "name": "topics",
            "task": "text-classification",
            "model": "builtin:minilm",
            "data": {"train": "builtin:trec"},
            "objective": {"metric": "accuracy", "direction": direction},
            "parameters": PARAMETERS,
        }
    )
    given: dict[str, Any] = {
        "id": "s1",
        "name": "topics",
        "state": "running",
        "reason": None,
        "spec": spec,
        "facts": Facts(blocks=6, train_rows=900, validation_rows=100, baseline={"accuracy": 0.225}),
        "n_created": 0,
        "version": 1,
        "search_attrs": {},
        "created_at": START,
        "updated_at": START,
        "finished_at": None,
    }
    return Study(**(given | changes))


def a_trial(
    number: int,
    state: TrialState = "completed",
    value: float | None = None,
    *,
    params: Mapping[str, ParamValue] | None = None,
    origin: Origin = "sampled",
    failure_kind: str | None = None,
) -> Trial:
    started = START + timedelta(seconds=30 * number)
    return Trial(
        id=number + 1,
        study_id="s1",
        number=number,
        state=state,
        origin=origin,
        params=params if params is not None else some_params(random.Random(number)),
        value=value,
        values={} if value is None else {"accuracy": value},
        epoch=None if state == "waiting" else 3.0,
        step=None if state == "waiting" else 90,
        attempt=1,
        retries=0,
        lease_id=None,
        worker_id="w1",
        reason=None,
        failure_kind=failure_kind,
        failure_message=failure_kind,
        search_attrs={},
        details={},
        created_at=started,
        started_at=None if state == "waiting" else started,
        finished_at=started + timedelta(seconds=25) if state not in ("waiting", "running") else None,
    )


def some_params(draw: random.Random) -> dict[str, ParamValue]:
    params: dict[str, ParamValue] = {
        "learning_rate": 10 ** draw.uniform(-6, -3),
        "batch_size": draw.choice([8, 16, 32, 64]),
        "epochs": draw.randint(1, 5),
        "optimizer": draw.choice(["adamw", "sgd"]),
        "weight_decay": 0.01,
    }
    if params["optimizer"] == "sgd":
        params["momentum"] = draw.uniform(0.5, 0.99)
    return params


def many_trials(count: int) -> list[Trial]:
    """Trials in all states: mostly completed, some pruned, few failed, the last two running and waiting."""
    draw = random.Random(7)
    trials = [a_trial(0, value=0.71, origin="default")]
    for number in range(1, count):
        kind = draw.random()
        if kind < 0.6:
            trials.append(a_trial(number, value=round(draw.uniform(0.2, 0.9), 6)))
        elif kind < 0.9:
            trials.append(a_trial(number, "pruned", value=round(draw.uniform(0.1, 0.5), 6)))
        else:
            trials.append(a_trial(number, "failed", failure_kind="nan"))
    return [*trials[:-2], a_trial(count - 2, "running", value=0.4), a_trial(count - 1, "waiting")] if count > 3 else trials


def points(trial: Trial, epochs: int = 3, name: str = "accuracy", split: str = "validation") -> list[MetricPoint]:
    top = trial.value or 0.3
    return [
        MetricPoint(name=name, value=top * epoch / epochs, step=30 * epoch, epoch=float(epoch), split=split)
        for epoch in range(1, epochs + 1)
    ]


def an_attempt(trial: Trial, worker_id: str = "w1", outcome: str | None = "completed", attempt: int = 1) -> Attempt:
    granted = trial.started_at or START
    return Attempt(
        id=f"{trial.id}-{attempt}",
        trial_id=trial.id,
        attempt=attempt,
        worker_id=worker_id,
        granted_at=granted,
        expires_at=granted + timedelta(seconds=60),
        ended_at=granted + timedelta(seconds=25) if outcome else None,
        outcome=outcome,
        message=None,
    )


def a_worker(worker_id: str, *gpus: str, **changes: Any) -> Worker:
    """One that is there all the time."""
    given: dict[str, Any] = {
        "id": worker_id,
        "host": "node-a",
        "pid": 7,
        "gpus": tuple({"id": gpu, "name": "a GPU", "memory": 24 * 10**9} for gpu in gpus),
        "versions": {},
        "registered_at": START - timedelta(hours=1),
        "seen_at": START + timedelta(hours=1),
    }
    return Worker(**(given | changes))


def figure_input(trials: Sequence[Trial], *, study: Study | None = None, epochs: int = 3, **changes: Any) -> FigureInput:
    by_number = {trial.number: trial for trial in trials}

    def metrics(numbers: Sequence[int]) -> dict[int, list[MetricPoint]]:
        return {n: [*points(by_number[n], epochs), *points(by_number[n], epochs, "loss", "train")] for n in numbers}

    given: dict[str, Any] = {
        "study": study or a_study(n_created=len(trials)),
        "trials": trials,
        "metrics": metrics,
        "attempts": lambda numbers: {n: [an_attempt(by_number[n], f"w{n % 3}")] for n in numbers},
        "importances": lambda: {"learning_rate": 0.7, "batch_size": 0.2, "epochs": 0.1},
        "now": START + timedelta(hours=1),
    }
    return FigureInput(**(given | changes))
