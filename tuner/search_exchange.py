"""Studies as Optuna keeps them: written to an SQLite file that Optuna and its dashboard open, and read from any storage URL.

Optuna makes the file's tables; the rows are written in one transaction, because a trial at a time through its storage takes
tens of milliseconds each. What Optuna has no place for stands in user attributes whose names begin with `tuner:`.
"""

from __future__ import annotations

import json
import math
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from studies.definition import ParamValue
from studies.errors import InvalidInput, known
from studies.space import Choice, Fixed, FloatRange, IntRange, Parameter, contains, on_grid
from tuner.records import MetricPoint, Study, Trial
from tuner.search import distribution_of
from tuner.spec import direction_of, objective_of, space_of

_STATES = {
    "waiting": "WAITING",
    "running": "RUNNING",
    "completed": "COMPLETE",
    "pruned": "PRUNED",
    "stopped": "PRUNED",  # ended early with a value, which is what Optuna means by it
    "failed": "FAIL",
}
_INSERT = {
    "trials": "INSERT INTO trials (trial_id, number, study_id, state, datetime_start, datetime_complete) "
    "VALUES (?, ?, 1, ?, ?, ?)",
    "params": "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) VALUES (?, ?, ?, ?)",
    "values": "INSERT INTO trial_values (trial_id, objective, value, value_type) VALUES (?, 0, ?, ?)",
    "intermediate": "INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type) "
    "VALUES (?, ?, ?, ?)",
    "attributes": "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, ?, ?)",
}
_ENDED = ("completed", "pruned", "stopped", "failed")
_OURS = {
    OptunaState.COMPLETE: "completed",
    OptunaState.PRUNED: "pruned",
    OptunaState.FAIL: "failed",
    OptunaState.RUNNING: "stopped",
    OptunaState.WAITING: "stopped",
}


def optuna_file(study: Study, trials: Sequence[Trial], metrics: Mapping[int, Sequence[MetricPoint]]) -> bytes:
    """The study as an SQLite file in the schema of Optuna's RDBStorage.

    `metrics` are all points by trial number; those of the objective in validation are the intermediate values.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.db"
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
        made = optuna.create_study(storage=storage, study_name=study.name, direction=direction_of(study.spec))
        made.set_metric_names([objective_of(study.spec).metric])
        made.set_user_attr("tuner:spec", study.spec.model_dump(mode="json"))
        made.set_user_attr("tuner:state", study.state)
        storage.engine.dispose()
        connection = sqlite3.connect(path)
        distributions = _distributions(study, trials)
        with connection:
            for trial in trials:
                _write(connection, study, trial, metrics.get(trial.number, ()), distributions)
        connection.close()
        return path.read_bytes()


def _distributions(study: Study, trials: Sequence[Trial]) -> dict[str, BaseDistribution]:
    """What each parameter was drawn from; wide enough for trials of earlier versions of the space."""
    found = {}
    space = space_of(study.spec, study.facts.blocks)
    for name in sorted({name for trial in trials for name in trial.params}):
        values = [trial.params[name] for trial in trials if name in trial.params]
        found[name] = _wide_enough(space.get(name), values)
    return found


def _wide_enough(parameter: Parameter | None, values: Sequence[ParamValue]) -> BaseDistribution:
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if isinstance(parameter, FloatRange | IntRange) and len(numbers) == len(values):
        if all(contains(parameter, value) and on_grid(parameter, value) for value in numbers):
            return distribution_of(parameter)
        low, high = min(*numbers, parameter.min), max(*numbers, parameter.max)
        log = parameter.log and low > 0
        if isinstance(parameter, IntRange) and all(value == int(value) for value in numbers):
            return IntDistribution(int(low), int(high), log=log)
        return FloatDistribution(low, high, log=log)
    choices = list(
        parameter.values if isinstance(parameter, Choice) else [parameter.value] if isinstance(parameter, Fixed) else []
    )
    for value in values:
        if all(value != choice or type(value) is not type(choice) for choice in choices):
            choices.append(value)
    return CategoricalDistribution(choices)


def _write(
    connection: sqlite3.Connection,
    study: Study,
    trial: Trial,
    points: Sequence[MetricPoint],
    distributions: Mapping[str, BaseDistribution],
) -> None:
    state, trial_id = _STATES[trial.state], trial.number + 1
    times = [None if at is None else _local(at) for at in (trial.started_at, trial.finished_at)]
    connection.execute(_INSERT["trials"], (trial_id, trial.number, state, *times))
    for name, value in trial.params.items():
        stored = (trial_id, name, distributions[name].to_internal_repr(value), distribution_to_json(distributions[name]))
        connection.execute(_INSERT["params"], stored)
    if trial.value is not None and state in ("COMPLETE", "PRUNED"):
        connection.execute(_INSERT["values"], (trial_id, *_number(trial.value)))
    for step, value in intermediate_values(study, points).items():
        connection.execute(_INSERT["intermediate"], (trial_id, step, *_number(value)))
    for key, attribute in _attributes(trial, points).items():
        connection.execute(_INSERT["attributes"], (trial_id, key, json.dumps(attribute)))


def intermediate_values(study: Study, points: Sequence[MetricPoint]) -> dict[int, float]:
    """Scores of the objective by epoch, or by step where epochs are not whole or not known."""
    metric = objective_of(study.spec).metric
    scores = [point for point in points if point.name == metric and point.split == "validation"]
    by_epoch = all(point.epoch is not None and point.epoch == int(point.epoch) for point in scores)
    return {int(point.epoch or 0) if by_epoch else point.step: point.value for point in scores}


def _attributes(trial: Trial, points: Sequence[MetricPoint]) -> dict[str, Any]:
    """What Optuna has no place for."""
    metrics = [[p.split, p.name, p.step, p.epoch, _text(p.value)] for p in points]
    found = {
        "tuner:state": trial.state,
        "tuner:origin": trial.origin,
        "tuner:reason": trial.reason,
        "tuner:failure": [trial.failure_kind, trial.failure_message] if trial.failure_kind else None,
        "tuner:values": {name: _text(value) for name, value in trial.values.items()} or None,
        "tuner:metrics": metrics or None,
        "tuner:worker": trial.worker_id,
    }
    return {key: value for key, value in found.items() if value is not None}


def _text(value: float) -> float | str:
    """JSON knows no NaN and no infinities."""
    return value if math.isfinite(value) else repr(value)


def _number(value: float) -> tuple[float | None, str]:
    """A number as Optuna's tables hold it."""
    if math.isnan(value):
        return None, "NAN"
    if math.isinf(value):
        return None, "INF_POS" if value > 0 else "INF_NEG"
    return value, "FINITE"


def _local(at: datetime) -> str:
    """Optuna's times are local and without a zone."""
    return at.astimezone().replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")


def read_study(url: str, name: str | None = None) -> dict[str, Any]:
    """A study of any Optuna storage, as the body of `POST /studies/import` without the spec that only a study file knows.

    Raises InvalidInput at `study` where the storage holds none of that name, or several and none is named.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    names = optuna.get_all_study_names(url)
    if name is None and len(names) != 1:
        raise InvalidInput.at("study", f"the storage holds {len(names)} studies; name one with --study: {known(names)}")
    if name is not None and name not in names:
        raise InvalidInput.at("study", f"the storage has no study {name!r}; {known(names)}")
    loaded = optuna.load_study(study_name=name or names[0], storage=url)
    if len(loaded.directions) != 1:
        raise InvalidInput.at("study", f"{loaded.study_name!r} has {len(loaded.directions)} objectives; one can be imported")
    return {
        "name": loaded.study_name,
        "spec": loaded.user_attrs.get("tuner:spec"),
        "direction": loaded.direction.name.lower(),
        "trials": [_imported(trial) for trial in loaded.get_trials(deepcopy=False)],
    }


def _imported(trial: FrozenTrial) -> dict[str, Any]:
    attrs = trial.user_attrs
    last = trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None
    value = trial.values[0] if trial.values else last
    points = attrs.get("tuner:metrics")
    if points is None:  # of the objective, whose name the study file says
        points = [["validation", None, step, step, _text(score)] for step, score in sorted(trial.intermediate_values.items())]
    state = (
        attrs.get("tuner:state")
        if attrs.get("tuner:state") in ("completed", "pruned", "stopped", "failed")
        else _OURS[trial.state]
    )
    failure = attrs.get("tuner:failure") or [None, None]
    return {
        "state": state,
        "params": trial.params,
        "value": None if value is None else _text(value),
        "values": attrs.get("tuner:values", {}),
        "metrics": [{"split": s, "name": n, "step": step, "epoch": e, "value": v} for s, n, step, e, v in points],
        "reason": attrs.get("tuner:reason")
        or (None if trial.state.is_finished() else f"was {trial.state.name} when it was imported"),
        "failure_kind": (failure[0] or "code") if state == "failed" else None,
        "failure_message": (failure[1] or "failed in Optuna") if state == "failed" else None,
        "started_at": _utc(trial.datetime_start),
        "finished_at": _utc(trial.datetime_complete),
    }


def _utc(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat()
