"""`/studies/{id}/usage`: what a study has cost so far, what it was spared, and what went wrong."""

from __future__ import annotations

from fastapi import APIRouter

from api.deps import Now, ServiceDep, StudyDep, requires
from api.schemas import Answer
from tuner.db import lease_rows
from tuner.usage import usage

router = APIRouter(prefix="/api/v1/studies/{study_id}/usage", tags=["studies"])


class UsageAnswer(Answer):
    """Hours of workers and GPUs that trials took, hours that were spared (estimated; null: not known), failures by kind."""

    worker_hours: float
    gpu_hours: float
    pruning_saved_hours: float | None
    activations_saved_hours: float | None
    failures: dict[str, int]


@router.get("", dependencies=[requires("viewer")])
def show_usage(study: StudyDep, service: ServiceDep, now: Now) -> UsageAnswer:
    """Counted over every attempt, those of trials that run up to now."""
    with service.ledger.read() as connection:
        held = lease_rows.lease_time(connection, study.id)
        trials = service.trials.trials_of(connection, study.id, now=now)
    return UsageAnswer.model_validate(usage(trials, held, study.spec, now=now))
