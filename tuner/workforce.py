"""Those who train: whether a worker may join, and what it tells about itself."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from typing import Any

from tuner.db import worker_rows
from tuner.errors import Conflict, NotFound
from tuner.ledger import Change, Ledger
from tuner.records import Worker


def check_version(versions: Mapping[str, str]) -> None:
    """Raises Conflict for a worker of another release of Tuner; programs that train their own way name none."""
    ours, theirs = metadata.version("tuner"), versions.get("tuner")
    if theirs is not None and _release(theirs) != _release(ours):
        raise Conflict(
            f"this worker is Tuner {theirs}, the service is {ours}: install release {_release(ours)} for the worker "
            f"(pip install 'tuner=={_release(ours)}.*'), or bring the service up to date first"
        )


def tell_worker(ledger: Ledger, worker_id: str, gpus: Sequence[Mapping[str, Any]], *, now: datetime) -> None:
    """Keep what a worker tells of its GPUs. Raises NotFound for an unknown worker."""

    def work(change: Change) -> None:
        if not worker_rows.set_gpus(change.connection, worker_id, gpus, now):
            raise NotFound(f"no worker {worker_id!r}; register with POST /workers first")
        change.tell("worker", worker_id=worker_id)

    ledger.change(work)


def _release(version: str) -> str:
    """Within a release, `major.minor`, worker and service understand each other."""
    return ".".join(version.split(".")[:2])


def add_worker(
    ledger: Ledger, *, host: str, pid: int, gpus: Sequence[Mapping[str, Any]], versions: Mapping[str, str], now: datetime
) -> Worker:
    """Make a worker known, before it asks for trials."""
    worker = Worker(
        id=secrets.token_hex(5), host=host, pid=pid, gpus=tuple(gpus), versions=versions, registered_at=now, seen_at=now
    )

    def work(change: Change) -> Worker:
        worker_rows.insert_worker(change.connection, worker)
        change.tell("worker", worker_id=worker.id)
        return worker

    return ledger.change(work)
