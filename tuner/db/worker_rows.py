"""Rows of `workers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping, bindparam, insert, select, update

from tuner.db.engine import Connection
from tuner.db.known_rows import known
from tuner.db.prepared import Prepared
from tuner.db.tables import workers
from tuner.records import Worker

_HEARD_OF_AGAIN_AFTER = timedelta(seconds=1)
_BY_ID = Prepared(select(workers).where(workers.c.id == bindparam("worker")))
_NOTE = Prepared(update(workers).where(workers.c.id == bindparam("worker")).values(seen_at=bindparam("now")))


def insert_worker(connection: Connection, worker: Worker) -> None:
    connection.execute(
        insert(workers).values(
            id=worker.id,
            host=worker.host,
            pid=worker.pid,
            gpus=[dict(gpu) for gpu in worker.gpus],
            versions=dict(worker.versions),
            registered_at=worker.registered_at,
            seen_at=worker.seen_at,
        )
    )


def get_worker(connection: Connection, worker_id: str) -> Worker | None:
    facts = known(connection)
    worker = facts.worker(worker_id)
    if worker is None and (row := _BY_ID.first(connection, {"worker": worker_id})) is not None:
        worker = _worker(row)
        facts.keep_worker(worker)
    return worker


def see_worker(connection: Connection, worker_id: str, now: datetime) -> None:
    """Note that a worker is alive, if that was not noted about now."""
    worker = get_worker(connection, worker_id)
    if worker is not None and abs(now - worker.seen_at) >= _HEARD_OF_AGAIN_AFTER:
        _NOTE.hits(connection, {"worker": worker_id, "now": now})
        known(connection).keep_worker(replace(worker, seen_at=now))


def set_gpus(connection: Connection, worker_id: str, gpus: Sequence[Mapping[str, Any]], now: datetime) -> bool:
    """Note what a worker tells of its GPUs, and that it is alive; whether it is known."""
    changed = update(workers).where(workers.c.id == worker_id).values(gpus=[dict(gpu) for gpu in gpus], seen_at=now)
    return connection.execute(changed).rowcount == 1


def list_workers(connection: Connection, *, limit: int = 1000) -> list[Worker]:
    """Last seen first."""
    rows = connection.execute(select(workers).order_by(workers.c.seen_at.desc()).limit(limit)).mappings()
    return [_worker(row) for row in rows]


def _worker(row: Mapping[str, Any] | RowMapping) -> Worker:
    fields: dict[str, Any] = dict(row)
    return Worker(**(fields | {"gpus": tuple(fields["gpus"])}))
