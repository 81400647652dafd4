"""The row of `leader`: which service owns the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from tuner.db.engine import Connection
from tuner.db.prepared import Prepared
from tuner.db.tables import leader

_THE_ROW = 1
_INSERT: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
# Every transaction begins with it.
_RENEW = Prepared(update(leader).where(leader.c.epoch == bindparam("of_epoch")).values(seen_at=bindparam("now")))
# Not left to idle_in_transaction_session_timeout: that does not run within a pipeline, nor after one (decision 0026).
_CUT_OFF = text("""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity JOIN pg_locks USING (pid)
    WHERE relation = 'leader'::regclass AND mode = 'RowExclusiveLock' AND granted AND datname = current_database()
    AND wait_event_type = 'Client' AND state_change < clock_timestamp() - make_interval(secs => :seconds)
""")


@dataclass(frozen=True, kw_only=True)
class Leader:
    """Who owns the database, since how many changes of owner, and when it was last heard of."""

    epoch: int
    owner: str | None  # None: it has left
    seen_at: datetime


def get_leader(connection: Connection) -> Leader | None:
    """None before the first service came."""
    row = connection.execute(select(leader.c.epoch, leader.c.owner, leader.c.seen_at)).mappings().first()
    return None if row is None else Leader(**row)


def take_lead(connection: Connection, *, after: int | None, owner: str, now: datetime) -> int | None:
    """Become the owner after the one of epoch `after` (None: the first ever); returns the new epoch.

    None if another service has become it since that one was read, or if the row is in use.
    """
    if after is None:
        first = {"id": _THE_ROW, "epoch": 1, "owner": owner, "seen_at": now}
        taken: Any = _INSERT[connection.dialect.name](leader).values(first).on_conflict_do_nothing()
    else:
        # Not waited for: whoever holds the row may sleep for good.
        row = select(leader.c.epoch).where(leader.c.epoch == after).with_for_update(skip_locked=True)
        if connection.execute(row).first() is None:
            return None
        taken = update(leader).where(leader.c.epoch == after).values(epoch=after + 1, owner=owner, seen_at=now)
    epoch: int | None = connection.execute(taken.returning(leader.c.epoch)).scalar_one_or_none()
    return epoch


def cut_off_sleepers(connection: Connection, seconds: float) -> None:
    """End the connections that hold the row and have had PostgreSQL wait for them for so long.

    A service that was stopped within a transaction would else hold it for ever. SQLite's locks are their process's alone.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_CUT_OFF, {"seconds": seconds})


def renew_lead(connection: Connection, epoch: int, *, now: datetime) -> bool:
    """Whether the epoch is still the current one."""
    return _RENEW.run(connection, {"of_epoch": epoch, "now": now}) == 1


def give_up_lead(connection: Connection, epoch: int) -> None:
    connection.execute(update(leader).where(leader.c.epoch == epoch).values(owner=None))
