"""`/workers`: who trains trials."""

from __future__ import annotations

from fastapi import APIRouter

from api.bodies import WorkerBody
from api.deps import Limit, Now, ServiceDep, requires
from api.schemas import Page, RegisteredAnswer, RunningTrial, WorkerAnswer
from tuner.db import lease_rows, worker_rows

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
    """Make a worker known, before it asks for trials."""
    worker = service.manager.register(host=body.host, pid=body.pid, gpus=body.gpus, versions=body.versions, now=now)
    return RegisteredAnswer(worker_id=worker.id)
