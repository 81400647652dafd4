"""`/studies/{id}/trials`: what was tried, what it reported and left behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse, StreamingResponse

from api.bodies import CloneBody, EnqueueBody, ExtendBody
from api.deps import ActorDep, Cursor, Limit, Now, ServiceDep, StudyDep, TrialDep, requires
from api.files import file_answer
from api.filters import read_fields, read_sort, read_states, read_where
from api.paging import number_cursor, read_number
from api.schemas import ArtifactAnswer, BestTrial, MetricAnswer, Page, TrialAnswer, TrialInFull
from tuner.db import lease_rows, metric_rows, trial_rows
from tuner.db.engine import Connection
from tuner.errors import NotFound
from tuner.overview import best_of, pareto_of
from tuner.records import TRIAL_STATES, Trial
from tuner.sections import Text
from tuner.service import Service

router = APIRouter(prefix="/api/v1/studies/{study_id}", tags=["trials"])
_BIGGEST_SEQ = 2**31 - 1


@dataclass(frozen=True)
class _Reported:
    """The metrics of a study, looked up only if a filter names one."""

    connection: Connection
    study_id: str

    def has(self, split: str, name: str) -> bool:
        return metric_rows.has_metric(self.connection, self.study_id, split, name)

    def all(self) -> list[tuple[str, str]]:
        return metric_rows.metric_names(self.connection, self.study_id)


@router.get("/trials", dependencies=[requires("viewer")], response_model=Page[TrialAnswer])
def list_trials(
    study: StudyDep,
    service: ServiceDep,
    now: Now,
    state: Annotated[list[Text], Query(description="One or several, separated by commas.")] = [],  # noqa: B006
    where: Annotated[Text | None, Query(max_length=1000, description="E.g. `value>0.8,train/loss<0.1`.")] = None,
    sort: Annotated[Text, Query(max_length=200, description="A column or parameter; with `-` in front, descending.")] = "number",
    fields: Annotated[Text | None, Query(max_length=1000, description="Keys of an item, separated by commas.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Any:
    """A part of the trials. Those without a value for `sort` come last, equal ones by number."""
    column, descending, as_text = read_sort(sort, study)
    wanted = read_fields(fields, TrialAnswer.model_fields)
    offset = read_number(cursor) or 0
    with service.ledger.read() as connection:
        trials, total = trial_rows.list_trials(
            connection,
            study.id,
            states=read_states(state, TRIAL_STATES),
            where=read_where(where, study, _Reported(connection, study.id)),
            sort=column,
            descending=descending,
            sort_as_text=as_text,
            offset=offset,
            limit=limit,
        )
    end = offset + len(trials)
    items = [TrialAnswer.of(trial, now) for trial in trials]
    page = Page[TrialAnswer](items=items, next=number_cursor(end) if end < total else None, total=total)
    # Written straight to JSON: passing a thousand trials through the framework's encoder takes many times as long.
    include: Any = None if wanted is None else {"items": {"__all__": wanted}, "next": True, "total": True}
    return Response(page.model_dump_json(include=include), media_type="application/json")


@router.post("/trials", dependencies=[requires("editor")], status_code=201)
def enqueue_trial(
    study: StudyDep, body: EnqueueBody, service: ServiceDep, actor: ActorDep, now: Now, response: Response
) -> TrialAnswer:
    """Add a trial with given parameters; those left out are sampled."""
    return _added(service.lifecycle.enqueue(study.id, body.params, actor=actor, now=now), now, response)


@router.get("/trials/{number}", dependencies=[requires("viewer")])
def show_trial(trial: TrialDep, service: ServiceDep, now: Now) -> TrialInFull:
    """One trial, with its attempts."""
    return _in_full(service, trial, now)


@router.post("/trials/{number}/stop", dependencies=[requires("editor")])
def stop_trial(trial: TrialDep, service: ServiceDep, actor: ActorDep, now: Now) -> TrialAnswer:
    """End one trial now; it keeps its last reported value. One that has ended stays as it is."""
    return TrialAnswer.of(service.lifecycle.stop_trial(trial.study_id, trial.number, actor=actor, now=now), now)


@router.post("/trials/{number}/clone", dependencies=[requires("editor")], status_code=201)
def clone_trial(
    trial: TrialDep, body: CloneBody, service: ServiceDep, actor: ActorDep, now: Now, response: Response
) -> TrialAnswer:
    """Enqueue a copy of a trial in which the given parameters are changed."""
    params = dict(trial.params) | body.params
    return _added(service.lifecycle.enqueue(trial.study_id, params, actor=actor, now=now), now, response)


@router.post("/trials/{number}/extend", dependencies=[requires("editor")])
def extend_trial(trial: TrialDep, body: ExtendBody, service: ServiceDep, actor: ActorDep, now: Now) -> TrialAnswer:
    """More epochs for a trial that has ended, from its checkpoint. A study that is over runs again for this trial only."""
    return TrialAnswer.of(service.lifecycle.extend(trial.study_id, trial.number, body.epochs, actor=actor, now=now), now)


@router.get("/trials/{number}/metrics", dependencies=[requires("viewer")])
def list_metrics(trial: TrialDep, service: ServiceDep) -> Page[MetricAnswer]:
    """Every number of the attempt that counts, by step."""
    with service.ledger.read() as connection:
        points = metric_rows.metrics_of(connection, trial.id)
    return Page[MetricAnswer](items=[MetricAnswer.model_validate(point) for point in points], total=len(points))


@router.get(
    "/trials/{number}/logs",
    dependencies=[requires("viewer")],
    response_class=PlainTextResponse,
    responses={200: {"headers": {"X-Next-After": {"description": "`after` of the next call", "schema": {"type": "integer"}}}}},
)
def show_logs(
    trial: TrialDep,
    service: ServiceDep,
    after: Annotated[int, Query(ge=0, le=_BIGGEST_SEQ, description="The number of the last line already seen.")] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000, description="Lines at most.")] = 10_000,
) -> PlainTextResponse:
    """Lines of the log as text; the header X-Next-After says how to go on from there."""
    with service.ledger.read() as connection:
        lines = metric_rows.logs_of(connection, trial.id, after=after, limit=limit)
    text = "".join(f"{line.text}\n" for line in lines)
    return PlainTextResponse(text, headers={"X-Next-After": str(lines[-1].seq if lines else after)})


@router.get("/trials/{number}/artifacts", dependencies=[requires("viewer")])
def list_artifacts(trial: TrialDep, service: ServiceDep) -> Page[ArtifactAnswer]:
    """The files that the trial left behind."""
    artifacts = service.artifacts.list(trial)
    items = [ArtifactAnswer(name=a.name, size=a.size, sha256=a.sha256, created_at=a.created_at) for a in artifacts]
    return Page[ArtifactAnswer](items=items, total=len(items))


@router.get(
    "/trials/{number}/artifacts/{name}",
    dependencies=[requires("viewer")],
    response_class=StreamingResponse,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
)
def download_artifact(trial: TrialDep, name: Text, service: ServiceDep) -> StreamingResponse:
    """A file, whole, to be saved and never to be shown."""
    artifact, stored = service.artifacts.find(trial, name)
    return file_answer(stored, artifact.name, artifact.size)


@router.get("/best", dependencies=[requires("viewer")])
def show_best(study: StudyDep, service: ServiceDep, now: Now) -> BestTrial:
    """The best trial so far, and with several objectives the Pareto set."""
    with service.ledger.read() as connection:
        best = best_of(connection, study)
        front = pareto_of(connection, study) if study.spec.further_objectives else []
    if best is None:
        raise NotFound(f"no trial of study {study.name!r} has a value yet")
    items = [TrialAnswer.of(trial, now) for trial in front or [best]]
    return BestTrial(**dict(_in_full(service, best, now)), items=items, total=len(items))


def _in_full(service: Service, trial: Trial, now: Now) -> TrialInFull:
    with service.ledger.read() as connection:
        attempts = lease_rows.attempts_of(connection, trial.id)
    return TrialInFull.with_attempts(trial, attempts, now)


def _added(trial: Trial, now: Now, response: Response) -> TrialAnswer:
    response.headers["Location"] = f"/api/v1/studies/{trial.study_id}/trials/{trial.number}"
    return TrialAnswer.of(trial, now)
