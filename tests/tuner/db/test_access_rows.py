from __future__ import annotations

from datetime import timedelta, timezone

from tests.conftest import Clock
from tuner.db import access_rows
from tuner.db.engine import Connection
from tuner.service import Service


def test_the_audit_log_is_read_newest_first_page_by_page(service: Service, clock: Clock) -> None:
    def add(connection: Connection) -> None:
        for number in range(5):
            now, subject = clock.forward(1), str(number)
            access_rows.insert_audit(connection, at=now, token=None, address=None, action="test", subject=subject, detail=None)

    service.ledger.database.write(add)
    with service.ledger.read() as connection:
        first, total = access_rows.list_audit(connection, before_id=None, limit=3)
        rest, _ = access_rows.list_audit(connection, before_id=first[-1].id, limit=3)
    assert total == 5
    assert [entry.subject for entry in first + rest] == ["4", "3", "2", "1", "0"]


def test_old_sessions_are_swept_out(service: Service, clock: Clock) -> None:
    token, _ = service.access.create_token("admin", "Ada", now=clock())
    old = service.access.open_session(token, now=clock())
    clock.forward(13 * 3600)
    service.access.open_session(token, now=clock())
    # Asked as of the time when it was good: its row is gone.
    assert service.access.session(old, now=clock() - timedelta(hours=12, minutes=30)) is None


def test_times_of_other_zones_mean_the_same_moment(service: Service, clock: Clock) -> None:
    east = clock().astimezone(timezone(timedelta(hours=9)))
    token, bearer = service.access.create_token("worker", "n1", now=clock(), expires_at=east + timedelta(hours=1))
    assert service.access.identify(bearer, now=east + timedelta(minutes=59)) == token
    assert service.access.identify(bearer, now=clock() + timedelta(minutes=61)) is None
