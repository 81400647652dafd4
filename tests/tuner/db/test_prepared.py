from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from tuner.db.engine import Connection, Database
from tuner.db.prepared import Prepared
from tuner.db.tables import idempotency, workers

NOW = datetime(2026, 1, 1, 12, 0, 0, 5, tzinfo=UTC)
WORKER = {"id": "w", "host": "h", "pid": 2**40, "gpus": [{"name": "ψ"}], "versions": {}, "registered_at": NOW, "seen_at": NOW}
PUT = Prepared(insert(workers))
GET = Prepared(select(workers).where(workers.c.id == bindparam("worker")))
SEE = Prepared(
    update(workers)
    .where(workers.c.id == bindparam("worker"), workers.c.host == "h")
    .values(seen_at=bindparam("now"))
    .returning(workers.c.id, workers.c.seen_at)
)


def as_executed(connection: Connection) -> dict[str, Any]:
    return dict(connection.execute(select(workers)).mappings().one())


def test_it_reads_and_writes_what_sqlalchemy_does(database: Database) -> None:
    assert database.write(lambda c: PUT.run(c, WORKER)) == 1
    assert database.write(as_executed) == WORKER
    assert database.write(lambda c: GET.first(c, {"worker": "w"})) == WORKER
    assert database.write(lambda c: GET.all(c, {"worker": "nobody"})) == []
    later = NOW.replace(hour=13)
    assert database.write(lambda c: SEE.all(c, {"worker": "w", "now": later})) == [{"id": "w", "seen_at": later}]
    assert database.write(lambda c: SEE.first(c, {"worker": "nobody", "now": NOW})) is None
    assert database.write(as_executed)["seen_at"] == later
    with database.read() as connection:
        assert GET.first(connection, {"worker": "w"}) == WORKER | {"seen_at": later}


def test_what_the_database_refuses_is_the_error_that_sqlalchemy_raises(database: Database) -> None:
    with pytest.raises(IntegrityError):
        database.write(lambda c: (PUT.run(c, WORKER), PUT.run(c, WORKER)))
    assert database.write(lambda c: c.execute(select(func.count()).select_from(workers)).scalar_one()) == 0
    assert database.write(lambda c: PUT.run(c, WORKER)) == 1


def test_a_change_that_a_call_leaves_when_it_fails_is_undone(database: Database) -> None:
    def boom(connection: Connection) -> None:
        PUT.run(connection, WORKER)
        raise LookupError("no")

    with pytest.raises(LookupError):
        database.write(boom)
    assert database.write(lambda c: GET.first(c, {"worker": "w"})) is None


def test_a_connection_that_was_cut_off_is_made_anew(postgres_url: str) -> None:
    """Found by the first statement of a transaction it costs no call anything; found later, that call."""
    database, cut = Database(postgres_url), Prepared(select(func.pg_terminate_backend(func.pg_backend_pid()).label("gone")))
    touch = Prepared(update(idempotency).where(idempotency.c.key == bindparam("key_")).values(body_hash=bindparam("hash_")))
    database.guard = lambda connection: None if touch.run(connection, {"key_": "x", "hash_": ""}) == 0 else None
    with pytest.raises(Exception, match="cannot be reached"):
        database.write(lambda c: cut.all(c, {}))
    assert database.write(lambda c: PUT.run(c, WORKER)) == 1
    pid = database.write(lambda c: c.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
    with database.engine.connect() as other:
        other.exec_driver_sql(f"SELECT pg_terminate_backend({pid}, 5000)")
    forgotten: list[int] = []
    database.on_rollback = lambda: forgotten.append(1)
    assert database.write(lambda c: GET.first(c, {"worker": "w"})) is not None
    assert forgotten, "the database that answers now may lack what the other one had"
    database.close()


def test_an_error_of_the_disk_is_one_that_can_be_translated(database: Database) -> None:
    broken = Prepared(select(workers.c.id, func.no_such_function().label("x")))
    with database.engine.connect() as connection, pytest.raises((OperationalError, Exception)) as caught:
        broken.all(connection, {})
    assert type(caught.value).__module__ == "sqlalchemy.exc"
