"""Statements that run all the time, without what SQLAlchemy does anew each time.

Built by SQLAlchemy and compiled once a dialect; then the driver runs the text itself. That costs a third to a fifth of
`Connection.execute`, which looks the statement up, makes a context and a result, and tells listeners.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Dialect, Select, exc

from tuner.db.posted import posted

Process = Callable[[Any], Any] | None
Row = dict[str, Any]


@dataclass(frozen=True)
class _Compiled:
    text: str
    positions: list[str] | None  # the values' names in the order of the driver's placeholders; None: it takes names
    constants: Row  # values that stand in the statement itself, ready for the driver
    given: list[tuple[str, Process]]
    columns: list[tuple[str, Process]]  # known once it has run


class Prepared:
    """A statement with named values (`bindparam`, or the columns of an insert), which are the same ones each time."""

    def __init__(self, statement: Any) -> None:
        self._statement = statement
        self._reads = isinstance(statement, Select)
        self._compiled: dict[str, _Compiled] = {}

    def all(self, connection: Connection, values: Mapping[str, Any]) -> list[Row]:
        """Run it; returns the rows that it selects or returns, by the names of their columns."""
        compiled, cursor = self._run(connection, values)
        if not compiled.columns:
            compiled.columns.extend(_columns(self._statement, connection.dialect, cursor.description))
        found = cursor.fetchall()
        self._note(connection, bool(found))
        rows = (zip(compiled.columns, row, strict=True) for row in found)
        return [{name: read(value) if read else value for (name, read), value in row} for row in rows]

    def first(self, connection: Connection, values: Mapping[str, Any]) -> Row | None:
        """As `all`, for at most one row."""
        rows = self.all(connection, values)
        return rows[0] if rows else None

    def run(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Run a statement that returns no rows; how many it changed."""
        count: int = self._run(connection, values)[1].rowcount
        self._note(connection, count != 0)
        return count

    def hits(self, connection: Connection, values: Mapping[str, Any], *, foreseen: bool = True) -> bool:
        """Whether it changes a row. `foreseen`: the caller knows that it changes just one; then it may run later.

        Should it not, all calls that share the transaction are run again, with nothing foreseen.
        """
        waiting = posted(connection) if foreseen else None
        if waiting is not None:
            waiting.add(*self._ready(connection, values)[1])
            self._note(connection, True)
            return True
        cursor = self._run(connection, values)[1]
        count = len(cursor.fetchall()) if cursor.description else cursor.rowcount
        self._note(connection, count != 0)
        return bool(count == 1)

    def _note(self, connection: Connection, hit: bool) -> None:
        """A transaction in which a statement has hit no row has nothing to undo for it."""
        if hit and not self._reads:
            connection.info["changed"] = True

    def _run(self, connection: Connection, values: Mapping[str, Any]) -> tuple[_Compiled, Any]:
        compiled, statement = self._ready(connection, values)
        return compiled, _drive(connection, statement)

    def _ready(self, connection: Connection, values: Mapping[str, Any]) -> tuple[_Compiled, tuple[str, Any]]:
        """What the driver is to run. Whoever asks is about to run it."""
        compiled = self._compiled.get(connection.dialect.name)
        if compiled is None:
            compiled = self._compiled[connection.dialect.name] = _compile(self._statement, connection.dialect, list(values))
        if not connection.in_transaction():
            connection.begin()
        ready = compiled.constants | {name: write(values[name]) if write else values[name] for name, write in compiled.given}
        named = compiled.positions
        return compiled, (compiled.text, ready if named is None else [ready[name] for name in named])


def send_posted(connection: Connection) -> None:
    """Run what waits to be run. Raises Unforeseen."""
    if posted(connection):
        _drive(connection)


def _drive(connection: Connection, *statement: tuple[str, Any]) -> Any:
    """Have the driver run a statement, after those that wait; returns its cursor."""
    driver, waiting = connection.connection.driver_connection, posted(connection)
    assert driver is not None
    try:
        return waiting.send(driver, *statement) if waiting else driver.execute(*statement[0])
    except connection.dialect.loaded_dbapi.Error as error:
        if connection.dialect.is_disconnect(error, driver, None):
            connection.invalidate(error)
        raise _as_sqlalchemys(error, *(text for text, _ in statement)) from error


def _compile(statement: Any, dialect: Dialect, names: list[str]) -> _Compiled:
    made = statement.compile(dialect=dialect, column_keys=names)
    writes = {name: bound.type.dialect_impl(dialect).bind_processor(dialect) for name, bound in made.binds.items()}
    inside = {name: value for name, value in made.params.items() if name not in names}
    return _Compiled(
        text=made.string,
        positions=made.positiontup,
        constants={name: write(value) if (write := writes[name]) else value for name, value in inside.items()},
        given=[(name, writes[name]) for name in made.params if name in names],
        columns=[],
    )


def _columns(statement: Any, dialect: Dialect, described: Sequence[Sequence[Any]]) -> list[tuple[str, Process]]:
    """How to read each column; the driver describes its type."""
    columns = zip(statement.exported_columns, described, strict=True)
    return [(column.name, column.type.dialect_impl(dialect).result_processor(dialect, kind)) for column, (_, kind, *_) in columns]


def _as_sqlalchemys(error: Exception, text: str = "statements that were sent together") -> exc.DBAPIError:
    """The driver's error as `Connection.execute` would have raised it."""
    kinds = (getattr(exc, kind.__name__, None) for kind in type(error).__mro__)
    kind = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, exc.DBAPIError))
    return kind(text, None, error)
