"""Things side by side: which of their properties differ. Pure: records in, rows out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.records import Study, Trial, Worker

# Of a study's row these say nothing about how it searches.
_NO_SETTINGS = ("name", "notes", "tags")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One property of all that are compared; `present` tells a value of null from none at all."""

    name: str
    values: Sequence[Any]
    present: Sequence[bool]
    differs: bool


@dataclass(frozen=True, kw_only=True)
class TrialComparison:
    """Trials side by side, in the order asked for."""

    parameters: Sequence[Row]
    metrics: Sequence[Row]
    environment: Sequence[Row]


def compare_trials(study: Study, trials: Sequence[Trial], workers: Mapping[str, Worker]) -> TrialComparison:
    """`workers` holds those that trained `trials`, by id."""
    order = [*(study.spec.parameters if isinstance(study.spec.parameters, Mapping) else ())]
    return TrialComparison(
        parameters=side_by_side([trial.params for trial in trials], order),
        metrics=side_by_side([trial.values for trial in trials]),
        environment=side_by_side([_environment(study, trial, workers.get(trial.worker_id or "")) for trial in trials]),
    )


def compare_studies(studies: Sequence[Study]) -> list[Row]:
    """What was asked for and what was found out about the data, as dotted paths."""
    return side_by_side([_settings(study) for study in studies])


def side_by_side(columns: Sequence[Mapping[str, Any]], order: Sequence[str] = ()) -> list[Row]:
    """A row for each name in any of `columns`: those in `order` first, then as they come."""
    names = dict.fromkeys([*order, *(name for column in columns for name in column)])
    rows = [_row(name, columns) for name in names]
    return [row for row in rows if any(row.present)]


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Nested objects as dotted paths; lists stay whole."""
    if not isinstance(value, Mapping):
        return {path: value}
    return {
        name: leaf for key, inner in value.items() for name, leaf in flat(inner, f"{path}.{key}" if path else str(key)).items()
    }


def _row(name: str, columns: Sequence[Mapping[str, Any]]) -> Row:
    present = [name in column for column in columns]
    values = [column.get(name) for column in columns]
    same = all(present) and all(_same(value, values[0]) for value in values[1:])
    return Row(name=name, values=values, present=present, differs=not same)


def _same(one: Any, other: Any) -> bool:
    both_nan = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    return both_nan or (one == other and isinstance(one, bool) == isinstance(other, bool))


def _environment(study: Study, trial: Trial, worker: Worker | None) -> dict[str, Any]:
    told = {name: value for name, value in flat(trial.details).items() if not name.startswith("seconds")}
    found: dict[str, Any] = {"data": study.facts.fingerprint, "seed": study.spec.seed}
    if worker is not None:
        found |= {"worker": f"{worker.host}:{worker.pid}", "gpus": [str(gpu.get("name", "GPU")) for gpu in worker.gpus]}
        found |= dict(worker.versions)
    return {name: value for name, value in (found | told).items() if value is not None}


def _settings(study: Study) -> dict[str, Any]:
    asked = {name: value for name, value in study.spec.model_dump(mode="json").items() if name not in _NO_SETTINGS}
    facts = {"data.fingerprint": study.facts.fingerprint, "data.train_rows": study.facts.train_rows}
    return {name: value for name, value in (flat(asked) | facts).items() if value is not None}
