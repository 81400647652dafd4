"""Statements that wait for others, on PostgreSQL; on SQLite the same calls run each at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from tests.tuner.db.test_engine import at_once, outcomes
from tuner.db.engine import Connection, Database
from tuner.db.posted import Unforeseen, posted
from tuner.db.prepared import Prepared
from tuner.db.tables import idempotency

PUT = Prepared(insert(idempotency))
MARK = Prepared(update(idempotency).where(idempotency.c.key == bindparam("of")).values(body_hash=bindparam("to")))
COUNT = Prepared(select(func.count().label("found")).select_from(idempotency))


def put(key: str) -> Callable[[Connection], bool]:
    values = {"key": key, "body_hash": "", "study_id": "", "created_at": datetime(2026, 1, 1, tzinfo=UTC)}
    return lambda connection: PUT.hits(connection, values)


def mark(key: str, to: str, *, foreseen: bool = True) -> Callable[[Connection], bool]:
    return lambda connection: MARK.hits(connection, {"of": key, "to": to}, foreseen=foreseen)


def marks(database: Database) -> dict[str, str]:
    with database.read() as connection:
        return {key: body for key, body in connection.execute(select(idempotency.c.key, idempotency.c.body_hash))}


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many statements each pipeline ran."""
    found: list[int] = []
    enter, execute = psycopg.Connection.pipeline, psycopg.Connection.execute

    def counted(self: Any, *arguments: Any, **named: Any) -> Any:
        if self.pgconn.pipeline_status:
            found[-1] += 1
        return execute(self, *arguments, **named)

    def entered(self: Any) -> Any:
        found.append(0)
        return enter(self)

    monkeypatch.setattr(psycopg.Connection, "pipeline", entered)
    monkeypatch.setattr(psycopg.Connection, "execute", counted)
    return found


def test_what_waits_runs_in_its_order_with_the_next_that_is_waited_for(postgres_url: str, trips: list[int]) -> None:
    database = Database(postgres_url)

    def work(connection: Connection) -> int:
        assert put("a")(connection) and mark("a", "1")(connection) and mark("a", "2")(connection)
        found: int = COUNT.all(connection, {})[0]["found"]
        assert mark("a", "3")(connection)
        return found

    assert database.write(work) == 1
    assert marks(database) == {"a": "3"}
    assert trips == [4, 1]
    database.close()


def test_a_statement_of_another_way_finds_all_that_was_to_run_before(database: Database) -> None:
    def work(connection: Connection) -> list[Any]:
        put("a")(connection)
        return list(connection.execute(select(idempotency.c.key)).scalars())

    assert database.write(work) == ["a"]


def test_what_was_not_foreseen_is_told_and_takes_nothing_with_it(database: Database) -> None:
    """Each call is run again and gets the true answer; nothing is stored twice or lost."""
    runs: list[str] = []

    def noted(name: str, work: Callable[[Connection], bool]) -> Callable[[Connection], bool]:
        def run(connection: Connection) -> bool:
            runs.append(name)
            return work(connection)

        return run

    calls = [noted("a", put("a")), noted("nothing", mark("nothing", "1")), noted("b", put("b")), noted("mark", mark("a", "1"))]
    futures = at_once(database, calls)
    assert [future.result() for future in futures] == [True, False, True, True]
    assert marks(database) == {"a": "1", "b": ""}
    again = database.engine.dialect.name == "postgresql"
    assert runs == ["a", "nothing", "b", "mark"] * (2 if again else 1)


def test_an_error_that_comes_late_is_that_of_the_call_that_made_it(database: Database) -> None:
    told: list[int] = []
    database.on_rerun = lambda: told.append(1)
    futures = at_once(database, [put("a"), put("a"), put("b"), mark("b", "1")])
    assert outcomes(futures) == [None, IntegrityError, None, None]
    assert marks(database) == {"a": "", "b": "1"} and told
    assert database.write(put("c"))


def test_nothing_is_committed_after_what_was_not_foreseen_even_if_nobody_heeds_it(postgres_url: str) -> None:
    database, seen = Database(postgres_url), []

    def deaf(connection: Connection) -> bool:
        seen.append(posted(connection) is not None)
        mark("nothing", "1")(connection)
        try:
            COUNT.all(connection, {})
        except Unforeseen:
            return put("wrong")(connection)
        return put("right")(connection)

    assert database.write(deaf)
    assert (seen, marks(database)) == ([True, False], {"right": ""})
    database.close()


def test_a_connection_that_is_cut_off_meanwhile_is_made_anew(postgres_url: str) -> None:
    database = Database(postgres_url)
    cut: list[bool] = []

    def work(connection: Connection) -> bool:
        if not cut:
            driver = connection.connection.driver_connection
            assert driver is not None
            with database.engine.connect() as other:
                cut.append(other.exec_driver_sql(f"SELECT pg_terminate_backend({driver.info.backend_pid}, 5000)").scalar_one())
        return put("a")(connection)

    assert database.write(work) and cut == [True]
    assert marks(database) == {"a": ""}
    database.close()


def test_only_the_writer_lets_statements_wait(database: Database) -> None:
    with database.read() as connection:
        assert posted(connection) is None
        assert not mark("nothing", "1")(connection)
