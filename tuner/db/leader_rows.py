"""The row of `leader`: which service owns the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, insert, select, update

from tuner.db.engine import Connection
from tuner.db.prepared import Prepared
from tuner.db.tables import leader

_THE_ROW = 1
# Every transaction begins with it.
_RENEW = Prepared(update(leader).where(leader.c.epoch == bindparam("of_epoch")).values(seen_at=bindparam("now")))


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


def take_lead(connection: Connection, *, owner: str, now: datetime) -> int:
    """Depose whoever owned the database; returns the new epoch."""
    taken = update(leader).values(epoch=leader.c.epoch + 1, owner=owner, seen_at=now).returning(leader.c.epoch)
    epoch: int | None = connection.execute(taken).scalar_one_or_none()
    if epoch is not None:
        return epoch
    connection.execute(insert(leader).values(id=_THE_ROW, epoch=1, owner=owner, seen_at=now))
    return 1


def renew_lead(connection: Connection, epoch: int, *, now: datetime) -> bool:
    """Whether the epoch is still the current one."""
    return _RENEW.run(connection, {"of_epoch": epoch, "now": now}) == 1


def give_up_lead(connection: Connection, epoch: int) -> None:
    connection.execute(update(leader).where(leader.c.epoch == epoch).values(owner=None))
