"""One service at a time owns a database: it alone writes, and one that was deposed can change nothing.

The owner's epoch stands in a row, and every transaction of a service begins with a statement that renews the row only
while the epoch is its own. Another service may take over, under the next epoch, once the row has not been renewed for
LEAD_SECONDS, or at once if the owner was a process of this machine that is no more.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from tuner.db import leader_rows
from tuner.db.engine import Connection
from tuner.errors import Deposed

LEAD_SECONDS = 15.0


class Leadership:
    """This process's claim to a database."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self.epoch = 0

    def take(self, connection: Connection) -> bool:
        """Become the owner, unless another one is alive or comes first; whether that worked."""
        before = leader_rows.get_leader(connection)
        if _alive(before, now=self.clock()):
            return False
        after = None if before is None else before.epoch
        epoch = leader_rows.take_lead(connection, after=after, owner=_this_process(), now=self.clock())
        if epoch is None:
            leader_rows.cut_off_sleepers(connection, LEAD_SECONDS)
            return False
        self.epoch = epoch
        return True

    def confirm(self, connection: Connection) -> None:
        """Renew the claim within the transaction that it is for. Raises Deposed if another service has taken over."""
        if not leader_rows.renew_lead(connection, self.epoch, now=self.clock()):
            raise Deposed()

    def resign(self, connection: Connection) -> None:
        """Leave the database to whoever comes next, at once."""
        leader_rows.give_up_lead(connection, self.epoch)


def owner_alive(connection: Connection, *, now: datetime) -> str | None:
    """Who owns the database, if somebody does who may be alive."""
    leader = leader_rows.get_leader(connection)
    return leader.owner if leader is not None and _alive(leader, now=now) else None


def _alive(leader: leader_rows.Leader | None, *, now: datetime) -> bool:
    if leader is None or leader.owner is None or now - leader.seen_at > timedelta(seconds=LEAD_SECONDS):
        return False
    host, _, process = leader.owner.partition(" ")
    return host != socket.gethostname() or process == _process(int(process.partition("/")[0]))


def owned_by_this_process(connection: Connection) -> bool:
    """Whether it is this process that may write."""
    leader = leader_rows.get_leader(connection)
    return leader is not None and leader.owner == _this_process()


def _this_process() -> str:
    return f"{socket.gethostname()} {_process(os.getpid())}"


def _process(pid: int) -> str | None:
    """The process's id with its start time, because ids are used again; None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None if Path("/proc/self").exists() else f"{pid}/0"
    return f"{pid}/{stat.rpartition(')')[2].split()[19]}"
