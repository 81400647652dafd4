"""`/studies/{id}/export`: all of a study in one file."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from api.deps import Now, ServiceDep, StudyDep, requires
from api.numbers import written
from api.schemas import Answer, StudyAnswer, TrialAnswer
from tuner.db import trial_rows
from tuner.overview import overview

router = APIRouter(prefix="/api/v1/studies/{study_id}/export", tags=["studies"])
_COLUMNS = [name for name in TrialAnswer.model_fields if name not in ("study_id", "params", "values", "failure", "details")]
# What a spreadsheet would run as a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class ExportAnswer(Answer):
    """A study and all of its trials."""

    study: StudyAnswer
    trials: list[TrialAnswer]


@router.get(
    "",
    dependencies=[requires("viewer")],
    response_model=ExportAnswer,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def export_study(study: StudyDep, service: ServiceDep, now: Now, format: Annotated[Literal["csv", "json"], Query()]) -> Any:
    """A file to download: csv has one line a trial, json the study as well."""
    with service.ledger.read() as connection:
        trials = [TrialAnswer.of(trial, now) for trial in trial_rows.trials_of(connection, study.id)]
        view = overview(connection, study, now=now)
    safe_name = re.sub(r"[^A-Za-z0-9._-]", "_", study.name)
    headers = {"Content-Disposition": f'attachment; filename="{safe_name}.{format}"'}
    if format == "csv":
        return Response(_csv(trials), media_type="text/csv; charset=utf-8", headers=headers)
    content = ExportAnswer(study=StudyAnswer.of(view), trials=trials).model_dump_json()
    return Response(content, media_type="application/json", headers=headers)


def _csv(trials: Sequence[TrialAnswer]) -> str:
    params = list(dict.fromkeys(name for trial in trials for name in trial.params))
    values = list(dict.fromkeys(name for trial in trials for name in trial.values))
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    headings = [*_COLUMNS, "failure_kind", "failure_message"]
    writer.writerow([*headings, *(f"params.{name}" for name in params), *(f"values.{name}" for name in values)])
    for trial in trials:
        failure = (trial.failure.kind, trial.failure.message) if trial.failure else (None, None)
        cells = [getattr(trial, name) for name in _COLUMNS] + [*failure]
        cells += [trial.params.get(name) for name in params] + [trial.values.get(name) for name in values]
        writer.writerow([_cell(cell) for cell in cells])
    return file.getvalue()


def _cell(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, float):
        return written(value)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value
