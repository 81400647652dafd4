"""Many finished trials, written straight into the database as a service would have left them."""

from __future__ import annotations

import random
from datetime import UTC, datetime

from sqlalchemy import insert, select, text, update

from benchmarks.load import Connection, connect, new_worker
from benchmarks.servers import TunerServer, score
from tuner.db.engine import make_engine
from tuner.db.tables import leases, studies, trials
from tuner.settings import Settings

_CHUNK = 5_000
_POINTS = text(
    "INSERT INTO metrics (trial_id, attempt, split, name, step, epoch, value, reported_at, superseded) "
    "WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < :points) "
    "SELECT trials.id, 1, 'validation', 'accuracy', series.n, series.n, 0.1 * series.n, trials.created_at, :no "
    "FROM trials CROSS JOIN series WHERE trials.study_id = :study AND trials.number > 0"
)


async def prepare(server: TunerServer, body: dict[str, object], *, finished: int, points: int) -> tuple[str, str]:
    """A study with its untuned default waiting and so many completed trials, each with so many points.

    Starts the service, kills it and writes the rows; returns the ids of the study and of a worker.
    """
    server.start()
    connection: Connection = connect(server)
    study = await connection.must("POST", "/studies", body)
    worker_id = await new_worker(connection, 1)
    await connection.close()
    server.kill()
    if finished:
        _fill(server, study["id"], worker_id, finished, points)
    return study["id"], worker_id


def _fill(server: TunerServer, study_id: str, worker_id: str, finished: int, points: int) -> None:
    settings = Settings(home=server.home, database_url=server.database)
    engine = make_engine(settings.url)
    rng, now = random.Random(3), datetime.now(UTC)
    for start in range(1, finished + 1, _CHUNK):
        numbers = range(start, min(start + _CHUNK, finished + 1))
        with engine.connect().execution_options(tuner_write=True) as connection, connection.begin():
            connection.execute(insert(trials), [_trial(study_id, worker_id, number, points, rng, now) for number in numbers])
    with engine.connect().execution_options(tuner_write=True) as connection, connection.begin():
        connection.execute(update(studies).where(studies.c.id == study_id).values(n_created=finished + 1))
        done = (trials.c.study_id == study_id) & (trials.c.number > 0)
        columns = ["id", "trial_id", "attempt", "worker_id", "granted_at", "expires_at", "ended_at", "outcome"]
        connection.execute(
            insert(leases).from_select(
                columns,
                select(
                    trials.c.lease_id,
                    trials.c.id,
                    trials.c.attempt,
                    trials.c.worker_id,
                    trials.c.started_at,
                    trials.c.finished_at,
                    trials.c.finished_at,
                    trials.c.state,
                ).where(done),
            )
        )
        connection.execute(_POINTS, {"points": points, "study": study_id, "no": False})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    engine.dispose()


def _trial(study_id: str, worker_id: str, number: int, points: int, rng: random.Random, now: datetime) -> dict[str, object]:
    params = {
        "learning_rate": 10 ** rng.uniform(-6, -3),
        "weight_decay": rng.uniform(0, 0.3),
        "batch_size": rng.choice([8, 16, 32]),
        "frozen_layers": rng.randint(0, 6),
    }
    value = score(float(params["learning_rate"]), int(params["frozen_layers"]))
    return {
        "study_id": study_id,
        "number": number,
        "state": "completed",
        "origin": "sampled",
        "params": params,
        "value": value,
        "values": {"accuracy": value},
        "epoch": float(points),
        "step": points,
        "attempt": 1,
        "retries": 0,
        "lease_id": f"{study_id}-{number}",
        "worker_id": worker_id,
        "search_attrs": {},
        "details": {},
        "created_at": now,
        "started_at": now,
        "finished_at": now,
        "busy_seconds": 1.0,
    }
