"""`/workers`: who trains trials."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from api.bodies import GpusBody, WorkerBody
from api.deps import Limit, Now, ServiceDep, requires
from api.schemas import DemandAnswer, Page, RegisteredAnswer, RunningTrial, WorkerAnswer
from tuner.db import lease_rows, study_rows, worker_rows
from tuner.sections import Text
from tuner.workforce import add_worker, check_version, tell_worker

router = APIRouter(prefix="/api/v1/workers", tags=["workers"])


@router.get("", dependencies=[requires("viewer")])
def list_workers(service: ServiceDep, limit: Limit = 1000) -> Page[WorkerAnswer]:
    """Last seen first, with what they train now."""
    with service.ledger.read() as connection:
        workers = worker_rows.list_workers(connection, limit=limit)
        held = lease_rows.open_leases(connection)
    items = [
        WorkerAnswer(
            id=worker.id,
            host=worker.host,
            pid=worker.pid,
            gpus=[dict(gpu) for gpu in worker.gpus],
            versions=dict(worker.versions),
            registered_at=worker.registered_at,
            seen_at=worker.seen_at,
            running=[RunningTrial(study_id=study_id, number=number) for study_id, number in held.get(worker.id, ())],
        )
        for worker in workers
    ]
    return Page[WorkerAnswer](items=items, total=len(items))


@router.post("", dependencies=[requires("worker")], status_code=201)
def register_worker(body: WorkerBody, service: ServiceDep, now: Now) -> RegisteredAnswer:
    """Make a worker known, before it asks for trials. 409 for one of another release than the service."""
    check_version(body.versions)
    worker = add_worker(service.ledger, host=body.host, pid=body.pid, gpus=body.gpus, versions=body.versions, now=now)
    return RegisteredAnswer(worker_id=worker.id)


@router.patch("/{worker_id}", dependencies=[requires("worker")], status_code=204)
def tell_gpus(worker_id: Annotated[Text, Path(max_length=100)], body: GpusBody, service: ServiceDep, now: Now) -> None:
    """How busy a worker's GPUs are. No trial that wants more than those that are left is given to it."""
    tell_worker(service.ledger, worker_id, [gpu.model_dump(exclude_none=True) for gpu in body.gpus], now=now)


@router.get("/demand", dependencies=[requires("worker")])
def demand(service: ServiceDep) -> DemandAnswer:
    """How many trials could run at once if there were workers for them: what a pool goes by."""
    with service.ledger.read() as connection:
        return DemandAnswer(trials=sum(count for _, count in study_rows.demand(connection)))
