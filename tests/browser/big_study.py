"""A study of many trials, written straight into the database: what the dashboard has to stay quick with."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta

from sqlalchemy import insert, update

from tests.simulation import start_study, start_worker
from tuner.db.engine import Connection
from tuner.db.tables import leases, metrics, studies, trials
from tuner.records import Study
from tuner.service import Service, utc_now

_BATCH = 1_000


def big_study(service: Service, *, trials_: int = 10_000, points: int = 0, name: str = "many") -> Study:
    """Finished trials of a study that still runs, each with `points` reported values of each of two metrics."""
    now = utc_now()
    begin = now - timedelta(seconds=2 * trials_ + 60)
    study = start_study(service, begin, name=name, budget={"trials": trials_ + 500}, pruner={"name": "none"})
    worker_id = start_worker(service, now)
    draw = random.Random(11)

    def work(connection: Connection) -> None:
        connection.execute(update(studies).where(studies.c.id == study.id).values(n_created=trials_))
        for first in range(1, trials_, _BATCH):  # trial 0 is there already: the untuned default
            numbers = range(first, min(first + _BATCH, trials_))
            rows = [_trial(draw, study.id, number, worker_id, begin, points) for number in numbers]
            ids = list(connection.execute(insert(trials).returning(trials.c.id, sort_by_parameter_order=True), rows).scalars())
            connection.execute(
                insert(leases), [_lease(row, trial_id, worker_id) for row, trial_id in zip(rows, ids, strict=True)]
            )
            if points:
                reports = [m for row, i in zip(rows, ids, strict=True) for m in _metrics(row, i, points)]
                connection.execute(insert(metrics), reports)

    service.ledger.database.write(work)
    return study


def _trial(draw: random.Random, study_id: str, number: int, worker_id: str, begin: datetime, points: int) -> dict[str, object]:
    optimizer = draw.choice(["adamw", "sgd"])
    rate = 10 ** draw.uniform(-6, -3)
    params = {
        "learning_rate": rate,
        "batch_size": draw.choice([8, 16, 32]),
        "epochs": draw.randint(1, 9),
        "frozen_layers": draw.randint(0, 6),
        "optimizer": optimizer,
        "weight_decay": 0.01,
    } | ({"momentum": draw.uniform(0.5, 0.99)} if optimizer == "sgd" else {})
    state = draw.choices(["completed", "pruned", "failed"], [6, 3.5, 0.5])[0]
    value = None if state == "failed" else max(0.0, 0.9 - 0.15 * abs(math.log10(rate) + 4) + draw.gauss(0, 0.03))
    started = begin + timedelta(seconds=2 * number)
    return {
        "study_id": study_id,
        "number": number,
        "state": state,
        "origin": "sampled",
        "params": params,
        "value": value,
        "values": {} if value is None else {"accuracy": value, "loss": 1 - value},
        "epoch": float(max(points, 1)),
        "step": 10 * max(points, 1),
        "attempt": 1,
        "retries": 0,
        "worker_id": worker_id,
        "failure_kind": "oom" if state == "failed" else None,
        "failure_message": "ran out of memory" if state == "failed" else None,
        "search_attrs": {},
        "details": {},
        "created_at": started,
        "started_at": started,
        "finished_at": started + timedelta(seconds=1.5),
    }


def _lease(row: dict[str, object], trial_id: int, worker_id: str) -> dict[str, object]:
    ended = row["finished_at"]
    return {
        "id": f"{row['study_id']}-{row['number']}",
        "trial_id": trial_id,
        "attempt": 1,
        "worker_id": worker_id,
        "granted_at": row["started_at"],
        "expires_at": ended,
        "ended_at": ended,
        "outcome": row["state"],
    }


def _metrics(row: dict[str, object], trial_id: int, points: int) -> list[dict[str, object]]:
    top = row["value"] if isinstance(row["value"], float) else 0.3
    return [
        {
            "trial_id": trial_id,
            "attempt": 1,
            "split": split,
            "name": name,
            "step": 10 * epoch,
            "epoch": float(epoch),
            "value": sign * top * (1 - math.exp(-4 * epoch / points)),
            "reported_at": row["finished_at"],
            "superseded": False,
        }
        for split, name, sign in (("validation", "accuracy", 1.0), ("train", "loss", -1.0))
        for epoch in range(1, points + 1)
    ]
