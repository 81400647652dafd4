"""Rows of `leases`: each is one attempt at a trial, and its id is the fencing token."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, bindparam, insert, select, update

from tuner.db.engine import Connection
from tuner.db.known_rows import known
from tuner.db.prepared import Prepared
from tuner.db.tables import leases, trials, workers
from tuner.db.worker_rows import see_worker
from tuner.records import Attempt

_BY_ID = Prepared(select(leases).where(leases.c.id == bindparam("lease")))
_OPEN = (leases.c.id == bindparam("lease"), leases.c.ended_at.is_(None))
_INSERT = Prepared(insert(leases))
_EXTEND = Prepared(update(leases).where(*_OPEN).values(expires_at=bindparam("until")).returning(leases.c.worker_id))
_ON = Prepared(update(leases).where(*_OPEN).values(gpus=bindparam("ids")))
_ENDING: dict[str, Any] = {"ended_at": bindparam("now"), "outcome": bindparam("as_outcome"), "message": bindparam("with_message")}
_END = Prepared(update(leases).where(*_OPEN).values(_ENDING))


def new_lease_id(worker_id: str, request: str | None) -> str:
    """Random; of a named request always the same one, which nobody can guess who does not know that name."""
    return secrets.token_hex(12) if request is None else hashlib.sha256(f"{worker_id} {request}".encode()).hexdigest()[:24]


def insert_lease(
    connection: Connection, *, lease_id: str, trial_id: int, attempt: int, worker_id: str, now: datetime, expires_at: datetime
) -> None:
    values = {"id": lease_id, "trial_id": trial_id, "attempt": attempt, "worker_id": worker_id}
    _INSERT.hits(connection, values | {"granted_at": now, "expires_at": expires_at})


def get_lease(connection: Connection, lease_id: str) -> Attempt | None:
    row = _BY_ID.first(connection, {"lease": lease_id})
    return None if row is None else _attempt(row)


def is_open(connection: Connection, lease_id: str) -> bool:
    """Whether it is known, without a look, that the lease is open: it is while its trial runs."""
    trial = known(connection).trial(lease_id)
    return trial is not None and trial.state == "running"


def extend_lease(connection: Connection, lease_id: str, *, expires_at: datetime, now: datetime) -> bool:
    """Whether the lease was still open."""
    values = {"lease": lease_id, "until": expires_at}
    trial = known(connection).trial(lease_id)
    if trial is not None and trial.worker_id is not None and is_open(connection, lease_id):
        worker_id, held = trial.worker_id, _EXTEND.hits(connection, values)
    else:
        row = _EXTEND.first(connection, values)
        worker_id, held = ("", False) if row is None else (row["worker_id"], True)
    if held:
        see_worker(connection, worker_id, now)
    return held


def note_gpus(connection: Connection, lease_id: str, gpus: Sequence[str]) -> None:
    """Which of its GPUs the worker trains on under a lease that is open."""
    _ON.run(connection, {"lease": lease_id, "ids": list(gpus)})


def end_lease(connection: Connection, lease_id: str, *, outcome: str, message: str | None, now: datetime) -> None:
    _END.hits(connection, {"lease": lease_id, "now": now, "as_outcome": outcome, "with_message": message})


def expired_leases(connection: Connection, *, now: datetime, limit: int = 1000) -> list[Attempt]:
    """Open leases whose time is over, longest first."""
    query = select(leases).where(leases.c.ended_at.is_(None), leases.c.expires_at < now)
    rows = connection.execute(query.order_by(leases.c.expires_at).limit(limit)).mappings()
    return [_attempt(row) for row in rows]


def attempts_of(connection: Connection, *trial_ids: int) -> list[Attempt]:
    """By trial, and in their order."""
    query = select(leases).where(leases.c.trial_id.in_(trial_ids)).order_by(leases.c.trial_id, leases.c.attempt)
    return [_attempt(row) for row in connection.execute(query).mappings()]


def open_leases(connection: Connection) -> dict[str, list[tuple[str, int]]]:
    """worker id → the (study id, trial number) it trains now."""
    query = select(leases.c.worker_id, trials.c.study_id, trials.c.number).join(trials, trials.c.lease_id == leases.c.id)
    held: dict[str, list[tuple[str, int]]] = {}
    for worker_id, study_id, number in connection.execute(query.where(trials.c.state == "running")):
        held.setdefault(worker_id, []).append((study_id, number))
    return held


def lease_time(connection: Connection, study_id: str) -> list[tuple[datetime, datetime | None, Any]]:
    """(granted, ended, GPUs of the worker) of every attempt of a study: what GPU-hours are counted from."""
    query = (
        select(leases.c.granted_at, leases.c.ended_at, workers.c.gpus)
        .join(trials, trials.c.id == leases.c.trial_id)
        .join(workers, workers.c.id == leases.c.worker_id)
        .where(trials.c.study_id == study_id)
    )
    return [(granted, ended, gpus) for granted, ended, gpus in connection.execute(query)]


def _attempt(row: Mapping[str, Any] | RowMapping) -> Attempt:
    return Attempt(**row)
