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
from tuner.db import metric_rows, trial_rows
from tuner.overview import overview
from tuner.records import Study
from tuner.search_exchange import optuna_file

router = APIRouter(prefix="/api/v1/studies/{study_id}/export", tags=["studies"])
Format = Literal["csv", "json", "optuna"]
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
    responses={
        200: {
            "content": {
                "text/csv": {"schema": {"type": "string"}},
                "application/vnd.sqlite3": {"schema": {"type": "string", "format": "binary"}},
            }
        }
    },
)
def export_study(
    study: StudyDep, service: ServiceDep, now: Now, format: Annotated[Literal["csv", "json", "optuna"], Query()]
) -> Any:
    """A file to download: csv has one line a trial, json the study as well, optuna is an SQLite file for Optuna's own tools."""
    if format == "optuna":
        return _optuna(service, study)
    with service.ledger.read() as connection:
        trials = [TrialAnswer.of(trial, now) for trial in trial_rows.trials_of(connection, study.id)]
        view = overview(connection, study, now=now)
    headers = _headers(study, format)
    if format == "csv":
        return Response(_csv(trials), media_type="text/csv; charset=utf-8", headers=headers)
    content = ExportAnswer(study=StudyAnswer.of(view), trials=trials).model_dump_json()
    return Response(content, media_type="application/json", headers=headers)


def _optuna(service: ServiceDep, study: Study) -> Response:
    with service.ledger.read() as connection:
        found, metrics = trial_rows.trials_of(connection, study.id), metric_rows.metrics_of_study(connection, study.id)
    return Response(optuna_file(study, found, metrics), media_type="application/vnd.sqlite3", headers=_headers(study, "db"))


def _headers(study: Study, suffix: str) -> dict[str, str]:
    safe_name = re.sub(r"[^A-Za-z0-9._-]", "_", study.name)
    return {"Content-Disposition": f'attachment; filename="{safe_name}.{suffix}"'}


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
