"""`/studies`: start, list, look at, change and delete studies."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from api.bodies import ChangeBody, ImportBody, ImportedTrialBody, StudyBody
from api.deps import ActorDep, Cursor, Limit, Now, ServiceDep, StudyDep, requires
from api.filters import read_states
from api.paging import read_study_cursor, study_cursor
from api.schemas import DryRunAnswer, FactsAnswer, FirstTrialAnswer, Page, StudyAnswer
from studies.configurations import allowed_count
from studies.space import Parameter
from tuner.allowed import allowed_by, check_allowed
from tuner.db import study_rows
from tuner.importing import ImportedTrial, import_study
from tuner.overview import overview, overviews
from tuner.records import STUDY_STATES, MetricPoint, Study
from tuner.sections import Text
from tuner.spec import CheckedStudy, check, constraints_of, facts_of, objective_of, parse
from tuner.starts import Lessons, first_trials, learn

router = APIRouter(prefix="/api/v1/studies", tags=["studies"])
IfMatch = Annotated[
    Text | None, Header(max_length=100, description="An ETag: only if nobody has changed the study since it was read.")
]


@router.post(
    "",
    dependencies=[requires("editor")],
    status_code=201,
    response_model=StudyAnswer,
    responses={200: {"model": DryRunAnswer, "description": "Of a dry run: what would be started"}},
)
def create_study(
    body: StudyBody,
    service: ServiceDep,
    actor: ActorDep,
    now: Now,
    response: Response,
    dry_run: Annotated[bool, Query(description="Check only; store nothing.")] = False,
    idempotency_key: Annotated[Text | None, Header(min_length=1, max_length=150)] = None,
) -> Any:
    """Check a study and start it. With an Idempotency-Key, the same request sent again answers the same study."""
    spec = parse(body)
    check_allowed(spec, allowed_by(service.settings))
    checked = check(spec, check_data=service.settings.check_data)
    if dry_run:
        with service.ledger.read() as connection:
            lessons = learn(connection, checked)
        return Response(_dry_run(checked, lessons).model_dump_json(), media_type="application/json")
    idempotency = None
    if idempotency_key is not None and actor.token is not None:
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        idempotency = (f"{actor.token.id} {idempotency_key}", digest)
    study = service.lifecycle.create(checked, actor=actor, now=now, idempotency=idempotency)
    response.headers["Location"] = f"/api/v1/studies/{study.id}"
    return _answer(service, study, now, response)


@router.post("/import", dependencies=[requires("editor")], status_code=201)
def import_a_study(body: ImportBody, service: ServiceDep, actor: ActorDep, now: Now, response: Response) -> StudyAnswer:
    """Store a study that ran elsewhere, with its trials; `tuner studies import` sends what it reads of an Optuna storage."""
    spec = parse(body.study)
    check_allowed(spec, allowed_by(service.settings))
    checked = check(spec, check_data=service.settings.check_data)
    trials = [body_to_trial(trial, objective_of(checked.spec).metric) for trial in body.trials]
    study = import_study(service.ledger, checked, trials, source=body.source, actor=actor, now=now)
    response.headers["Location"] = f"/api/v1/studies/{study.id}"
    return _answer(service, study, now, response)


@router.get("", dependencies=[requires("viewer")])
def list_studies(
    service: ServiceDep,
    now: Now,
    state: Annotated[list[Text], Query(description="One or several, separated by commas.")] = [],  # noqa: B006
    tag: Annotated[Text | None, Query(max_length=500, description="`name` or `name:value`.")] = None,
    q: Annotated[Text | None, Query(max_length=200, description="Part of the name.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[StudyAnswer]:
    """Newest first."""
    name, _, value = tag.partition(":") if tag is not None else ("", "", "")
    with service.ledger.read() as connection:
        studies, total = study_rows.list_studies(
            connection,
            states=read_states(state, STUDY_STATES),
            text=q,
            tag=(name, value or None) if name else None,
            before=read_study_cursor(cursor),
            limit=limit + 1,
        )
        views = overviews(connection, studies[:limit], now=now)
    following = study_cursor(studies[limit - 1]) if len(studies) > limit else None
    return Page[StudyAnswer](items=[StudyAnswer.of(view) for view in views], next=following, total=total)


@router.get("/{study_id}", dependencies=[requires("viewer")])
def show_study(study: StudyDep, service: ServiceDep, now: Now, response: Response) -> StudyAnswer:
    """One study, with its progress, its best trial and the time it will take. The ETag is for `If-Match`."""
    return _answer(service, study, now, response)


@router.patch("/{study_id}", dependencies=[requires("editor")])
def change_study(
    study: StudyDep,
    body: ChangeBody,
    service: ServiceDep,
    actor: ActorDep,
    now: Now,
    response: Response,
    if_match: IfMatch = None,
) -> StudyAnswer:
    """Change a live study; with `If-Match`, only if nobody else has changed it since it was read."""
    changed = service.lifecycle.change_study(study.id, body, version=_version(if_match), actor=actor, now=now)
    return _answer(service, changed, now, response)


@router.post("/{study_id}/pause", dependencies=[requires("editor")])
def pause_study(
    study: StudyDep, service: ServiceDep, actor: ActorDep, now: Now, response: Response, if_match: IfMatch = None
) -> StudyAnswer:
    """Start no more trials; those that run give their workers free."""
    return _answer(service, service.lifecycle.pause(study.id, version=_version(if_match), actor=actor, now=now), now, response)


@router.post("/{study_id}/resume", dependencies=[requires("editor")])
def resume_study(
    study: StudyDep, service: ServiceDep, actor: ActorDep, now: Now, response: Response, if_match: IfMatch = None
) -> StudyAnswer:
    """Go on with a paused study."""
    return _answer(service, service.lifecycle.resume(study.id, version=_version(if_match), actor=actor, now=now), now, response)


@router.post("/{study_id}/stop", dependencies=[requires("editor")])
def stop_study(
    study: StudyDep, service: ServiceDep, actor: ActorDep, now: Now, response: Response, if_match: IfMatch = None
) -> StudyAnswer:
    """End a study now; trials that run or wait end as stopped."""
    return _answer(service, service.lifecycle.stop(study.id, version=_version(if_match), actor=actor, now=now), now, response)


@router.delete("/{study_id}", dependencies=[requires("admin")], status_code=204)
def delete_study(study: StudyDep, service: ServiceDep, actor: ActorDep, now: Now) -> None:
    """Remove a study that is not running, with its trials, metrics and files."""
    service.artifacts.remove(service.lifecycle.delete(study.id, actor=actor, now=now))


def body_to_trial(body: ImportedTrialBody, metric: str) -> ImportedTrial:
    """`metric` is the objective, what a point without a name is of."""
    points = [MetricPoint(name=p.name or metric, value=p.value, step=p.step, epoch=p.epoch, split=p.split) for p in body.metrics]
    scored = {metric: body.value} if body.value is not None and body.state == "completed" else {}
    return ImportedTrial(
        state=body.state,
        params=body.params,
        value=body.value,
        values=dict(body.values) | scored,
        metrics=points,
        reason=body.reason,
        failure=(body.failure_kind or "code", body.failure_message or "") if body.state == "failed" else None,
        started_at=body.started_at,
        finished_at=body.finished_at,
    )


def _answer(service: ServiceDep, study: Study, now: Now, response: Response) -> StudyAnswer:
    response.headers["ETag"] = f'"{study.version}"'
    with service.ledger.read() as connection:
        return StudyAnswer.of(overview(connection, study, now=now))


def _version(if_match: str | None) -> int | None:
    """The version that an ETag of ours names; 0, which no study has, for any other."""
    if if_match is None or if_match.strip() == "*":
        return None
    match = re.fullmatch(r'\s*"([0-9]{1,9})"\s*', if_match)
    return int(match[1]) if match else 0


def _dry_run(checked: CheckedStudy, lessons: Lessons) -> DryRunAnswer:
    first = first_trials(checked, lessons)
    return DryRunAnswer(
        valid=True,
        spec=checked.spec,
        parameters={name: _resolved(parameter) for name, parameter in checked.space.items()},
        facts=FactsAnswer.model_validate(facts_of(checked)),
        size=allowed_count(checked.space, constraints_of(checked.spec, checked.space, checked.model.blocks)),
        first_trial=dict(first[0].params),
        first_trials=[FirstTrialAnswer(origin=one.origin, params=dict(one.params)) for one in first],
    )


def _resolved(parameter: Parameter) -> dict[str, Any]:
    """A parameter as a study file would say it, with nothing left to the model and without what was not asked for."""
    unasked: dict[str, Any] = {"log": False, "step": None, "when": {}}
    return {key: value for key, value in asdict(parameter).items() if key not in unasked or value != unasked[key]}
