"""`/leases`: what workers ask and report. The id of a lease is the fencing token; a late call gets 409 and changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated, Any

from anyio import from_thread
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from api.bodies import FinishBody, HeartbeatBody, LeaseBody, LogBody, MetricsBody
from api.deps import FeedDep, Now, ServiceDep, requires
from api.feed import Feed
from api.files import file_answer
from api.schemas import ArtifactAnswer, CheckpointAnswer, FinishedAnswer, LeaseAnswer, VerdictAnswer, WantedAnswer
from tuner.artifacts import check_name
from tuner.errors import NotFound, StaleLease
from tuner.ledger import Change
from tuner.manager import Ending
from tuner.records import Trial
from tuner.resuming import start_over
from tuner.sections import Text
from tuner.service import Service, utc_now

router = APIRouter(prefix="/api/v1/leases", tags=["leases"], dependencies=[requires("worker")])
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
LeaseId = Annotated[Text, Path(max_length=100)]


@router.post("", response_model=LeaseAnswer, responses={204: {"description": "Nothing to do came up within `wait_seconds`."}})
async def lease_trial(body: LeaseBody, request: Request, service: ServiceDep, feed: FeedDep) -> Any:
    """A trial for a worker, as soon as there is one."""
    seen = service.events.last_id()
    deadline = asyncio.get_running_loop().time() + body.wait_seconds
    while True:
        leasing = service.manager.leasing(
            body.worker_id, studies=body.studies, gpus=body.gpus, request=body.request, now=utc_now()
        )
        lease = await feed.bell.result(service.ledger.begin(leasing))
        if lease is not None:
            break
        if service.manager.reservations.keeps(body.worker_id):
            return Response(status_code=204)  # what it waits for happens where it is
        following = await _work_may_be_there(feed, seen, deadline)
        if following is None or await request.is_disconnected():
            return Response(status_code=204)
        seen = following
    if await request.is_disconnected():
        # Nobody would train it until it expired.
        releasing = service.manager.finishing(lease.id, Ending(state="released"), now=utc_now())
        await feed.bell.result(service.ledger.begin(releasing))
        return Response(status_code=204)
    return LeaseAnswer.of(lease)


# The most frequent calls hold no thread while they wait for their commit.
@router.post("/{lease_id}/heartbeat")
async def heartbeat(
    lease_id: LeaseId, service: ServiceDep, feed: FeedDep, now: Now, body: HeartbeatBody | None = None
) -> VerdictAnswer:
    """The worker is alive: its lease runs on."""
    beating = service.manager.beating(lease_id, gpus=None if body is None else body.gpus, now=now)
    return VerdictAnswer.of(await feed.bell.result(service.ledger.begin(beating)))


@router.post("/{lease_id}/metrics")
async def report_metrics(lease_id: LeaseId, body: MetricsBody, service: ServiceDep, feed: FeedDep, now: Now) -> VerdictAnswer:
    """Store what was measured, and judge it. The same batch sent again changes nothing."""
    points = [metric.point() for metric in body.metrics]
    return VerdictAnswer.of(await feed.bell.result(service.ledger.begin(service.manager.reporting(lease_id, points, now=now))))


@router.post("/{lease_id}/logs", status_code=204)
def append_logs(lease_id: LeaseId, body: LogBody, service: ServiceDep, now: Now) -> None:
    """Add lines to the trial's log. Sent again with the same `after`, they are there once."""
    service.manager.log(lease_id, body.text.splitlines(), after=body.after, now=now)


@router.put("/{lease_id}/artifacts/{name}", openapi_extra={"requestBody": {"content": _BYTES, "required": True}})
def put_artifact(
    lease_id: LeaseId,
    name: Text,
    request: Request,
    service: ServiceDep,
    now: Now,
    sequence: Annotated[
        int | None, Query(ge=0, le=2**53, description="Counts the lease's uploads: one that arrives late replaces no later one.")
    ] = None,
) -> ArtifactAnswer:
    """Keep a file of the trial; the same name again replaces it."""
    check_name(name)
    trial = _running(service, lease_id)
    upload = service.artifacts.receive(_chunks(request), now=now)
    artifact = service.artifacts.attach(lease_id, trial, name, upload, now=now, sequence=sequence)
    return ArtifactAnswer(name=artifact.name, size=artifact.size, sha256=artifact.sha256, created_at=artifact.created_at)


@router.get("/{lease_id}/wanted")
def wanted(
    lease_id: LeaseId,
    value: Annotated[float, Query(description="That the trial ends with.")],
    service: ServiceDep,
) -> WantedAnswer:
    """Whether the trial's model is worth sending, or would be removed at once because `keep_models` better ones are there."""
    return WantedAnswer(model=service.artifacts.wants_model(_running(service, lease_id), value))


@router.put("/{lease_id}/checkpoint", openapi_extra={"requestBody": {"content": _BYTES, "required": True}})
def put_checkpoint(
    lease_id: LeaseId,
    epoch: Annotated[float, Query(ge=0, le=1e9, description="Epochs that it holds.")],
    step: Annotated[int, Query(ge=0, le=2**53, description="Optimiser steps that it holds.")],
    request: Request,
    service: ServiceDep,
    now: Now,
) -> CheckpointAnswer:
    """Keep the point from which the trial can be taken up again; it replaces the one before."""
    trial = _running(service, lease_id)
    upload = service.artifacts.receive(_chunks(request), now=now)
    kept = service.artifacts.attach_checkpoint(lease_id, trial, upload, epoch=epoch, step=step, now=now)
    return CheckpointAnswer(epoch=kept.epoch, step=kept.step, size=kept.size, sha256=kept.sha256)


@router.get("/{lease_id}/checkpoint", response_class=StreamingResponse, responses={200: {"content": _BYTES}})
def get_checkpoint(lease_id: LeaseId, service: ServiceDep, now: Now) -> StreamingResponse:
    """The point from which to take the trial up, if the lease's `resume` speaks of one. 404: the trial starts over."""
    kept, stored = service.artifacts.checkpoint(_running(service, lease_id))
    try:
        return file_answer(stored, "checkpoint", kept.size)
    except NotFound:
        start_over(service.ledger, lease_id, now=now)
        raise


@router.post("/{lease_id}/finish")
async def finish(lease_id: LeaseId, body: FinishBody, service: ServiceDep, feed: FeedDep, now: Now) -> FinishedAnswer:
    """End the attempt. The same end told again gets the same answer."""
    failure = None if body.failure is None else (body.failure.kind, body.failure.message)
    ending = Ending(state=body.state, values=body.values, failure=failure, details=body.details)
    finishing = service.manager.finishing(lease_id, ending, now=now)

    def work(change: Change) -> tuple[str, str | None]:
        return finishing(change), service.artifacts.study_to_tidy(change, lease_id)

    outcome, study_id = await feed.bell.result(service.ledger.begin(work))
    if study_id is not None:
        await run_in_threadpool(service.artifacts.keep_best, study_id, now=now)
    return FinishedAnswer(state=outcome)


async def _work_may_be_there(feed: Feed, seen: str, deadline: float) -> str | None:
    """Wait for an event that could mean work; returns its id, or None once the time is over."""
    loop = asyncio.get_running_loop()
    while news := await feed.after(seen, seconds=deadline - loop.time()):
        seen = news[-1].id
        if any(event.kind in ("study", "trial", "reset") for event in news):
            return seen
    return None


def _running(service: Service, lease_id: str) -> Trial:
    """The trial that the lease holds. Looked at before a large body is read; what counts is the look while writing."""
    trial = service.manager.holder(lease_id)
    if trial.state != "running":
        raise StaleLease(lease_id)
    return trial


def _chunks(request: Request) -> Iterator[bytes]:
    """The body as it comes in, for a reader in a thread: a large file is never in memory whole."""
    stream = aiter(request.stream())

    async def following() -> bytes | None:
        return await anext(stream, None)

    while (chunk := from_thread.run(following)) is not None:
        yield chunk
