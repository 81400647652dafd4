"""The one door to the database: many readers, one writer.

All writes run on one thread, in the order they came, and those that wait together share a commit: a durable commit
costs milliseconds (an fsync), so one a call would cap SQLite near 300 calls a second. A call is answered after its
commit. One that fails takes no other with it: if it had changed something, all are undone and run anew, each in a
savepoint of its own. Savepoints for all of them from the start would double the statements of a short call.
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, TimeoutError

from tuner.db.known_rows import Known, known
from tuner.db.posted import Posted, Unforeseen
from tuner.db.prepared import send_posted
from tuner.errors import Unavailable

__all__ = ["Connection", "Database"]

Result = TypeVar("Result")
_Call = tuple[Callable[[Connection], Any], "Future[Any]"]
_Outcome = tuple["Future[Any]", Any, "BaseException | None"]
_MOST_IN_ONE_COMMIT = 256

_CHANGES = re.compile(r"(?:INSERT INTO|UPDATE|DELETE FROM) (\w+)")  # and the table


class Database:
    """A database whose schema is up to date (see `tuner.db.migrations`).

    `guard` runs first in every transaction; what it raises (Unavailable) is raised by all calls in it, none of which ran.
    `on_rollback` is called, from the writer's thread, whenever work that had returned was undone because the commit failed:
    whoever keeps in memory what rows say must then forget it. `on_rerun`, likewise, when works that share a transaction are
    undone to be run anew: only what those did must be forgotten.
    """

    def __init__(self, url: str, *, on_rollback: Callable[[], None] = lambda: None) -> None:
        self.engine = make_engine(url)
        # Apart: the writer never waits for connections that readers have, and what is known goes with its own.
        self.writing = make_engine(url)
        self.on_rollback = on_rollback
        self.on_rerun: Callable[[], None] = on_rollback
        self.guard: Callable[[Connection], None] = lambda connection: None
        self._known = Known()  # what this may know of rows; used on the writer's thread only
        self._writing: Connection | None = None  # the writer's own connection, once it has one
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._closed = False
        self._closing = threading.Lock()
        self._writer = threading.Thread(target=self._write_loop, name="database-writer", daemon=True)
        self._writer.start()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading; it sees one moment of the database on SQLite, each statement's own on PostgreSQL."""
        try:
            with self.engine.connect() as connection:
                yield connection
        except (DBAPIError, TimeoutError) as error:
            raise translated(error) from error

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` in a transaction on the writer's thread; returns its result after the commit.

        Raises whatever `work` raised (its changes are undone), or Unavailable if the commit failed or the database is closed.
        """
        self.check_may_wait()
        return self.begin(work).result()

    def check_may_wait(self) -> None:
        """Raises RuntimeError on the writer's own thread."""
        if threading.current_thread() is self._writer:
            raise RuntimeError("a write inside a write would wait for itself; pass the connection on instead")

    def begin(self, work: Callable[[Connection], Result]) -> Future[Result]:
        """As `write`, for who can wait without holding a thread: what it returns or raises, once it is committed."""
        future: Future[Result] = Future()
        with self._closing:  # nothing may be queued behind the end of the queue: it would wait for ever
            if self._closed:
                raise Unavailable("the service is shutting down")
            self._calls.put((work, future))
        return future

    def close(self) -> None:
        """Finish what is queued, then let go of every connection."""
        with self._closing:
            self._closed = True
            self._calls.put(None)
        self._writer.join()
        self.engine.dispose()
        self.writing.dispose()

    def _write_loop(self) -> None:
        try:
            self._write_all()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        """Give the writer's connection back, whatever state it is in; the next transaction takes another."""
        if self._writing is not None:
            self._writing.close()
            self._writing = None

    def _write_all(self) -> None:
        while (first := self._calls.get()) is not None:
            batch = [first]
            following: _Call | None = first
            while following is not None and len(batch) < _MOST_IN_ONE_COMMIT and not self._calls.empty():
                following = self._calls.get()
                if following is not None:
                    batch.append(following)
            self._commit(batch)
            if following is None:
                return

    def _commit(self, batch: list[_Call]) -> None:
        try:
            try:
                outcomes = self._transact(batch, _run, posting=True)
            except _LeftChanges:
                self._known.clear()
                self.on_rerun()
                outcomes = self._transact(batch, _run_apart, posting=False)
        except (SQLAlchemyError, Unavailable) as error:
            self._let_go()  # a commit that failed may have left the transaction open
            self._known.clear()
            self.on_rollback()
            failure = error if isinstance(error, Unavailable) else translated(error)
            outcomes = [(future, None, failure) for _, future in batch]
        for future, result, problem in outcomes:
            if problem is None:
                future.set_result(result)
            else:
                future.set_exception(problem)

    def _transact(self, batch: list[_Call], run: Callable[[Connection, _Call], _Outcome], *, posting: bool) -> list[_Outcome]:
        """Run the calls in one transaction. `posting`: statements whose outcome is known may wait for others (PostgreSQL).

        Raises _LeftChanges if the calls must be run apart.
        """
        connection = self._writing = self._writing or self.writing.connect().execution_options(tuner_write=True)
        for may_be_cut_off in (True, False):
            with connection.begin() as transaction:
                connection.info["posted"] = Posted() if posting and connection.dialect.driver == "psycopg" else None
                try:
                    self.guard(connection)
                except DBAPIError:
                    if not (may_be_cut_off and connection.invalidated):
                        raise
                    # The database was started anew since the last transaction, say, or is another one that lacks the last of
                    # them. Nothing was done in this one yet.
                    transaction.rollback()
                    self._known.clear()
                    self.on_rollback()
                    continue
                connection.info["known"] = self._known
                outcomes = [run(connection, call) for call in batch]
                _send_the_rest(connection)
                return outcomes
        raise AssertionError("the second try returns or raises")


class _LeftChanges(Exception):
    """A call failed after it had changed something, or relied on what is not so."""


def _run(connection: Connection, call: _Call) -> _Outcome:
    """Run a call without a savepoint. Raises _LeftChanges if it failed and there is something to undo."""
    work, future = call
    connection.info["changed"] = False
    try:
        return future, work(connection), None
    except BaseException as error:  # carried to the caller's thread, which raises it
        if isinstance(error, SQLAlchemyError | Unforeseen) or connection.info["changed"]:
            raise _LeftChanges from error
        return future, None, error


def _send_the_rest(connection: Connection) -> None:
    try:
        send_posted(connection)
    except (SQLAlchemyError, Unforeseen) as error:
        raise _LeftChanges from error


def _run_apart(connection: Connection, call: _Call) -> _Outcome:
    work, future = call
    facts = known(connection)
    try:
        with connection.begin_nested():
            return future, work(connection), None
    except BaseException as error:  # carried to the caller's thread, which raises it
        facts.clear()
        if isinstance(error, SQLAlchemyError) and isinstance(translated(error), Unavailable):
            raise  # the transaction may be gone already, and with it what others in the batch did
        return future, None, error


def _note_statement(connection: Connection, cursor: Any, statement: str, *_: object) -> None:
    send_posted(connection)
    if not statement.startswith(("SELECT", "BEGIN")):
        connection.info["changed"] = True
        table = _CHANGES.match(statement)
        known(connection).changed(None if table is None else table[1])


def make_engine(url: str) -> Engine:
    """An engine set up for durability; makes the folder of an SQLite file, readable by its owner only."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        engine = create_engine(parsed, pool_pre_ping=True, pool_size=10, max_overflow=30)
        event.listen(engine, "before_cursor_execute", _note_statement)
        return engine
    if parsed.database and parsed.database != ":memory:":
        path = Path(parsed.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o600)
    engine = create_engine(parsed, pool_size=10, max_overflow=30)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    event.listen(engine, "before_cursor_execute", _note_statement)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # Transactions are begun by `_begin_sqlite`, not by the driver, which would begin them too late.
    connection.isolation_level = None
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 10000", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A writer that begins as a reader fails with "database is locked" when it first writes: take the lock at once.
    writes = connection.get_execution_options().get("tuner_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def translated(error: SQLAlchemyError) -> Exception:
    """Faults of the database server or the disk become Unavailable; a mistake in our own statement stays what it is."""
    if isinstance(error, TimeoutError):
        return Unavailable(f"every connection to the database is in use: {error}")
    # DatabaseError itself, not its kinds, is what SQLite says of a damaged file.
    passing = ("OperationalError", "InterfaceError", "DatabaseError")
    if isinstance(error, DBAPIError) and (error.connection_invalidated or type(error).__name__ in passing):
        return Unavailable(f"the database cannot be reached or written to just now: {error.orig}")
    return error
