from __future__ import annotations

import stat
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, func, insert, select
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from tuner.db.engine import Connection, Database, make_engine
from tuner.db.tables import idempotency
from tuner.errors import Unavailable

Work = Callable[[Connection], Any]


def put(key: str) -> Work:
    values = {"key": key, "body_hash": "", "study_id": "", "created_at": datetime(2026, 1, 1, tzinfo=UTC)}
    return lambda connection: connection.execute(insert(idempotency).values(values))


def keys(database: Database) -> set[str]:
    with database.read() as connection:
        return set(connection.execute(select(idempotency.c.key)).scalars())


def at_once(database: Database, works: list[Work]) -> list[Future[Any]]:
    """Have the writer find all of `works` waiting, in this order, so that they share a commit."""
    release, entered = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        entered.set()
        release.wait(10)

    pool = ThreadPoolExecutor(len(works) + 1)
    pool.submit(database.write, hold)
    entered.wait(10)
    futures = []
    for index, work in enumerate(works):
        futures.append(pool.submit(database.write, work))
        while database._calls.qsize() <= index:
            pass
    release.set()
    pool.shutdown()
    return futures


def outcomes(futures: list[Future[Any]]) -> list[type[BaseException] | None]:
    return [type(error) if (error := future.exception()) else None for future in futures]


def boom(connection: Connection) -> None:
    put("half done")(connection)
    raise LookupError("no")


def test_a_write_returns_what_the_work_returns(database: Database) -> None:
    assert database.write(lambda connection: connection.execute(select(func.count()).select_from(idempotency)).scalar()) == 0


def test_a_write_that_fails_takes_no_other_with_it(database: Database) -> None:
    futures = at_once(database, [put("a"), boom, put("b"), put("a"), put("c")])
    assert outcomes(futures) == [None, LookupError, None, IntegrityError, None]
    assert keys(database) == {"a", "b", "c"}


def test_a_mistake_in_a_statement_does_not_stop_the_writer(database: Database) -> None:
    # SQLite has one kind of error for a missing table and for a broken disk.
    with pytest.raises((ProgrammingError, Unavailable), match="nowhere"):
        database.write(lambda connection: connection.exec_driver_sql("INSERT INTO nowhere VALUES (1)"))
    database.write(put("a"))
    assert keys(database) == {"a"}


def test_a_write_that_is_begun_holds_nobody_up_and_is_there_once_it_is_done(database: Database) -> None:
    assert database.begin(put("a")).exception(10) is None
    assert isinstance(database.begin(boom).exception(10), LookupError)
    assert keys(database) == {"a"}


def test_writes_of_many_threads_are_there_for_all_once_they_return(database: Database, database_url: str) -> None:
    other = make_engine(database_url)

    def write(number: int) -> bool:
        database.write(put(str(number)))
        with other.connect() as connection:
            return connection.execute(select(idempotency.c.key).where(idempotency.c.key == str(number))).first() is not None

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(write, range(200)))
    other.dispose()
    assert len(keys(database)) == 200


def test_writes_that_wait_together_share_a_commit(database: Database) -> None:
    ids: list[object] = []

    def note_transaction(connection: Connection) -> None:
        ids.append(connection.get_transaction())

    at_once(database, [note_transaction] * 5)
    assert len(set(ids)) == 1


def test_a_write_inside_a_write_is_a_mistake(database: Database) -> None:
    with pytest.raises(RuntimeError, match="inside a write"):
        database.write(lambda _: database.write(put("a")))
    assert keys(database) == set()


def test_a_read_sees_nothing_of_what_is_not_committed(database: Database) -> None:
    seen = []

    def work(connection: Connection) -> None:
        put("a")(connection)
        seen.append(keys(database))

    database.write(work)
    assert seen == [set()] and keys(database) == {"a"}


def test_closing_finishes_what_is_queued_and_refuses_what_comes_later(database_url: str) -> None:
    database = Database(database_url)
    futures = at_once(database, [put("a"), put("b")])
    database.close()
    assert outcomes(futures) == [None, None]
    with pytest.raises(Unavailable, match="shutting down"):
        database.write(put("c"))


# ---- a database that breaks


def test_a_lost_connection_undoes_all_that_shared_it_and_the_next_write_works(postgres_url: str) -> None:
    database = Database(postgres_url)
    told: list[int] = []
    database.on_rollback = lambda: told.append(1)

    def cut(connection: Connection) -> None:
        connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    futures = at_once(database, [put("a"), cut, put("b")])
    assert outcomes(futures) == [Unavailable] * 3
    assert told
    database.write(put("c"))
    assert keys(database) == {"c"}
    database.close()


def test_a_commit_that_fails_leaves_no_transaction_open(database: Database) -> None:
    def fail(_: Connection) -> None:
        event.remove(database.writing, "commit", fail)
        raise OperationalError("COMMIT", None, Exception("no room"))

    database.write(put("a"))
    event.listen(database.writing, "commit", fail)
    with pytest.raises(Unavailable, match="no room"):
        database.write(put("b"))
    database.write(put("c"))
    assert keys(database) == {"a", "c"}


def test_a_full_disk_undoes_all_that_shared_the_commit(tmp_path: Path, sqlite_template: Path) -> None:
    file = tmp_path / "full.db"
    file.write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{file}")

    def fill(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # as far as it is, and no page more
        for number in range(1000):
            put(f"{number} " + "x" * 180)(connection)

    futures = at_once(database, [put("a"), fill, put("b")])
    assert outcomes(futures) == [Unavailable] * 3
    assert keys(database) == set()
    database.close()


def test_a_server_that_is_not_there_is_unavailable() -> None:
    database = Database("postgresql+psycopg://nobody@127.0.0.1:1/none?connect_timeout=2")
    with pytest.raises(Unavailable):
        database.write(put("a"))
    with pytest.raises(Unavailable), database.read():
        pass
    database.close()


def test_a_damaged_file_is_unavailable(tmp_path: Path) -> None:
    file = tmp_path / "damaged.db"
    file.write_bytes(b"this is no database" * 1000)
    database = Database(f"sqlite:///{file}")
    with pytest.raises(Unavailable, match="not a database"):
        database.write(put("a"))
    database.close()


# ---- SQLite


def test_every_sqlite_connection_is_durable(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new' / 'tuner.db'}")

    def settings(connection: Connection) -> list[object]:
        pragmas = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        return [connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() for pragma in pragmas]

    expected = ["wal", 2, 1, 10_000]
    assert database.write(settings) == expected
    with ExitStack() as stack:
        connections = [stack.enter_context(database.read()) for _ in range(5)]
        assert [settings(connection) for connection in connections] == [expected] * 5
    database.close()


def test_an_sqlite_file_belongs_to_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "tuner.db"
    database = Database(f"sqlite:///{file}")
    database.write(lambda connection: connection.exec_driver_sql("CREATE TABLE t (x)"))
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    database.close()


def test_an_sqlite_writer_waits_for_another_instead_of_failing(tmp_path: Path, sqlite_template: Path) -> None:
    file = tmp_path / "shared.db"
    file.write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{file}")
    other = create_engine(f"sqlite:///{file}")
    with other.connect() as connection, ThreadPoolExecutor(1) as pool:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        written = pool.submit(database.write, put("a"))
        connection.exec_driver_sql("COMMIT")
        written.result(10)
    other.dispose()
    assert keys(database) == {"a"}
    database.close()
