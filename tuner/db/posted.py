"""Statements that need no answer at once: they wait, and go to the server together with the next one that does.

The writer runs one statement after the other, and to PostgreSQL each is a round trip that costs more than the statement. Of most
the outcome is known beforehand (`tuner/db/known_rows.py`), so the call goes on as if it was there; it is looked at before
anything is committed (decision 0026).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection


class Unforeseen(Exception):
    """A statement that was known to change one row did not: what was known is wrong, and what was made of it."""


class Posted:
    """Of one transaction, in the order in which they are to run."""

    def __init__(self) -> None:
        self._statements: list[tuple[str, Any]] = []
        self._all_well = True

    def add(self, text: str, values: Any) -> None:
        """A statement, as the driver takes it, that will change one row."""
        self._statements.append((text, values))

    def __bool__(self) -> bool:
        return bool(self._statements) or not self._all_well

    def send(self, driver: Any, *next_one: tuple[str, Any]) -> Any:
        """Run what waits, and `next_one` after it, for all of which one round trip is enough; returns the last one's cursor.

        Raises Unforeseen, and does so again for whoever does not heed it.
        """
        statements, self._statements = [*self._statements, *next_one], []
        foreseen, well_so_far, self._all_well = len(statements) - len(next_one), self._all_well, False
        with driver.pipeline():
            cursors = [driver.execute(text, values) for text, values in statements]
        if not well_so_far or any(cursor.rowcount != 1 for cursor in cursors[:foreseen]):
            raise Unforeseen
        self._all_well = True
        return cursors[-1]


def posted(connection: Connection) -> Posted | None:
    """Where this transaction's statements may wait; None: nowhere, each is run at once."""
    found: Posted | None = connection.info.get("posted")
    return found
