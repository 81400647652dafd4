"""Studies that ran elsewhere: stored whole and as they ended, for looking at and for new studies to learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from studies.catalog import definition
from studies.definition import ParamValue
from studies.errors import FieldError, InvalidInput, known
from tuner.db import metric_rows, study_rows, trial_rows
from tuner.db.space_rows import insert_space
from tuner.errors import Conflict
from tuner.ledger import Change, Ledger
from tuner.lifecycle import Actor, new_study, note
from tuner.records import MetricPoint, Study, TrialState
from tuner.spec import CheckedStudy


@dataclass(frozen=True, kw_only=True)
class ImportedTrial:
    """A trial that has ended elsewhere. Nothing of what a sampler remembers comes from outside."""

    state: TrialState
    params: Mapping[str, ParamValue]
    value: float | None
    values: Mapping[str, float]
    metrics: Sequence[MetricPoint]
    reason: str | None
    failure: tuple[str, str] | None
    started_at: datetime | None
    finished_at: datetime | None


def import_study(
    ledger: Ledger, checked: CheckedStudy, trials: Sequence[ImportedTrial], *, source: str, actor: Actor, now: datetime
) -> Study:
    """Store a study with its trials, numbered in their order; it is over. Raises InvalidInput for parameters the task lacks."""
    rules = definition(checked.spec.task)
    errors = [
        FieldError(
            f"trials[{number}].params.{name}", f"unknown parameter; {known([rule.name for rule in rules.hyperparameters])}"
        )
        for number, trial in enumerate(trials)
        for name in trial.params
        if rules.hyperparameter(name) is None
    ]
    if errors:
        raise InvalidInput(errors[:20])
    study = new_study(checked, now)

    def work(change: Change) -> Study:
        if study_rows.live_study_named(change.connection, study.name) is not None:
            raise Conflict(f"a study named {study.name!r} is running or paused; give the imported one another name")
        study_rows.insert_study(change.connection, study)
        parameters = study.spec.model_dump(mode="json")["parameters"]
        insert_space(change.connection, study.id, 1, parameters=parameters, constraints=study.spec.constraints, now=now)
        for number, trial in enumerate(trials):
            _insert(change, study, number, trial, now)
        study_rows.set_created(change.connection, study.id, len(trials))
        reason = f"imported from {source}"[:300]
        study_rows.set_state(change.connection, study.id, "completed", allowed_from=("running",), reason=reason, now=now)
        note(change, actor, "study.import", study.id, now, reason)
        change.tell("study", study_id=study.id, state="completed")
        found = study_rows.get_study(change.connection, study.id)
        assert found is not None
        return found

    return ledger.change(work)


def _insert(change: Change, study: Study, number: int, trial: ImportedTrial, now: datetime) -> None:
    stored = trial_rows.insert_trial(
        change.connection,
        study_id=study.id,
        number=number,
        origin="enqueued",
        params=trial.params,
        search_attrs={},
        space_version=1,
        now=now,
    )
    metric_rows.insert_metrics(change.connection, trial_id=stored.id, attempt=1, points=trial.metrics, now=now)
    finished_at = trial.finished_at or now
    last = max(trial.metrics, key=lambda point: point.step, default=None)
    trial_rows.set_ended(
        change.connection,
        stored.id,
        state=trial.state,
        value=trial.value,
        values=trial.values,
        epoch=last.epoch if last else None,
        step=last.step if last else None,
        reason=trial.reason,
        failure=trial.failure,
        started_at=trial.started_at,
        finished_at=finished_at,
        busy_seconds=max(0.0, (finished_at - (trial.started_at or finished_at)).total_seconds()),
    )
