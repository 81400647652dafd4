"""`/studies/{id}/compare` and `/compare`: trials, or studies, side by side."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from api.dashboard.figures import figure_json
from api.dashboard.figures_of_studies import STUDY_FIGURES, StudyLine
from api.deps import Now, ServiceDep, StudyDep, requires
from api.numbers import written
from api.schemas import Answer, TrialAnswer
from studies.errors import InvalidInput, known
from tuner.comparison import Row, compare_studies, compare_trials
from tuner.db import lease_rows, study_rows, trial_rows, worker_rows
from tuner.errors import NotFound
from tuner.records import Study
from tuner.sections import Text
from tuner.service import Service
from tuner.spec import direction_of, objective_of

router = APIRouter(tags=["compare"])
FEWEST, MOST = 2, 6
_Studies = Annotated[Text, Query(max_length=1500, description="Ids or names of 2 to 6 studies, separated by commas.")]


class RowAnswer(Answer):
    """One property of all that are compared; `present` tells null from no value at all."""

    name: str
    values: list[Any]
    present: list[bool]
    differs: bool


class TrialsComparedAnswer(Answer):
    """Trials side by side, in the order asked for."""

    trials: list[TrialAnswer]
    parameters: list[RowAnswer]
    metrics: list[RowAnswer]
    environment: list[RowAnswer]


class ComparedStudy(Answer):
    """One of the studies that are compared."""

    id: str
    name: str
    state: str
    metric: str
    direction: str


class StudiesComparedAnswer(Answer):
    """Studies side by side, in the order asked for."""

    studies: list[ComparedStudy]
    settings: list[RowAnswer]


@router.get("/api/v1/studies/{study_id}/compare", dependencies=[requires("viewer")])
def compare(
    study: StudyDep,
    service: ServiceDep,
    now: Now,
    trials: Annotated[Text, Query(max_length=200, description="2 to 6 trial numbers, separated by commas.")],
) -> TrialsComparedAnswer:
    """Parameters, metrics and environment of some trials side by side; `differs` marks what is not the same in all."""
    numbers = _listed("trials", trials)
    if any(not text.isdecimal() or len(text) > 9 for text in numbers):
        raise InvalidInput.at("trials", f"must be trial numbers separated by commas, such as 3,7,9, not {trials!r}")
    with service.ledger.read() as connection:
        found = {int(number): trial_rows.get_trial(connection, study.id, int(number)) for number in numbers}
        workers = {worker.id: worker for worker in worker_rows.list_workers(connection)}
    chosen = [trial for trial in found.values() if trial is not None]
    if len(chosen) < len(found):
        missing = ", ".join(str(number) for number, trial in found.items() if trial is None)
        raise NotFound(f"study {study.name!r} has no trial {missing}")
    rows = compare_trials(study, chosen, workers)
    return TrialsComparedAnswer(
        trials=[TrialAnswer.of(trial, now) for trial in chosen],
        parameters=[_answer(row) for row in rows.parameters],
        metrics=[_answer(row) for row in rows.metrics],
        environment=[_answer(row) for row in rows.environment],
    )


@router.get("/api/v1/compare", dependencies=[requires("viewer")])
def compare_whole_studies(service: ServiceDep, studies: _Studies) -> StudiesComparedAnswer:
    """Settings and data of some studies side by side; `differs` marks what is not the same in all."""
    chosen = _find(service, studies)
    heads = [
        ComparedStudy(
            id=study.id,
            name=study.name,
            state=study.state,
            metric=objective_of(study.spec).metric,
            direction=direction_of(study.spec),
        )
        for study in chosen
    ]
    return StudiesComparedAnswer(studies=heads, settings=[_answer(row) for row in compare_studies(chosen)])


@router.get(
    "/api/v1/compare/figures/{name}",
    dependencies=[requires("viewer")],
    responses={200: {"content": {"application/json": {"schema": {"type": "object", "required": ["data", "layout"]}}}}},
)
def compare_figure(name: Annotated[Text, Path(max_length=50)], service: ServiceDep, now: Now, studies: _Studies) -> Response:
    """A plotly figure of several studies: by_trial, by_hour or edf."""
    if name not in STUDY_FIGURES:
        raise NotFound(f"no figure {name!r}; {known(list(STUDY_FIGURES))}")
    lines = []
    for study in _find(service, studies):
        with service.ledger.read() as connection:
            held = lease_rows.lease_time(connection, study.id)
            lines.append(StudyLine(study=study, trials=service.trials.trials_of(connection, study.id, now=now), held=held))
    return Response(figure_json(STUDY_FIGURES[name](lines, now)), media_type="application/json")


def _find(service: Service, studies: str) -> list[Study]:
    names = _listed("studies", studies)
    with service.ledger.read() as connection:
        found = {name: study_rows.find_study(connection, name) for name in names}
    for name, study in found.items():
        if study is None:
            raise NotFound(f"no study {name!r}")
    return [study for study in found.values() if study is not None]


def _listed(field: str, text: str) -> list[str]:
    """2 to 6 names, each once. Raises InvalidInput."""
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not FEWEST <= len(names) <= MOST:
        raise InvalidInput.at(field, f"name {FEWEST} to {MOST}, separated by commas; these are {len(names)}")
    return names


def _answer(row: Row) -> RowAnswer:
    values = [written(value) if isinstance(value, float) else value for value in row.values]
    return RowAnswer(**(asdict(row) | {"values": values}))
