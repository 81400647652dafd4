"""The service without its HTTP server: the database brought up to date, and everything that works on it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from tuner.access import Access
from tuner.artifacts import ArtifactStore
from tuner.db.engine import Database
from tuner.db.migrate import upgrade
from tuner.errors import Unavailable
from tuner.events import EventLog
from tuner.ledger import Ledger
from tuner.lifecycle import Lifecycle
from tuner.manager import Manager
from tuner.settings import Settings

log = structlog.get_logger()


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Service:
    """What the HTTP layer, the tests and an in-process pool all talk to."""

    settings: Settings
    ledger: Ledger
    events: EventLog
    manager: Manager
    lifecycle: Lifecycle
    access: Access
    artifacts: ArtifactStore


@contextmanager
def open_service(settings: Settings, *, clock: Callable[[], datetime] = utc_now) -> Iterator[Service]:
    """Bring the database's schema up to date, take back expired leases while the service is open, close cleanly."""
    upgrade(settings.url)
    events = EventLog()
    database = Database(settings.url)
    ledger = Ledger(database, events)
    service = Service(
        settings=settings,
        ledger=ledger,
        events=events,
        manager=Manager(ledger, lease_seconds=settings.lease_seconds),
        lifecycle=Lifecycle(ledger),
        access=Access(ledger),
        artifacts=ArtifactStore(ledger, settings.artifacts, max_bytes=settings.max_artifact_bytes),
    )
    closing = threading.Event()
    timer = threading.Thread(target=_expire_now_and_then, args=(service.manager, clock, closing), name="lease-timer", daemon=True)
    timer.start()
    try:
        yield service
    finally:
        closing.set()
        timer.join()
        database.close()


def _expire_now_and_then(manager: Manager, clock: Callable[[], datetime], closing: threading.Event) -> None:
    every = min(5.0, manager.lease_time.total_seconds() / 4)
    while not closing.wait(every):
        try:
            taken = manager.expire(now=clock())
        except Unavailable as error:
            log.warning("leases could not be checked", error=str(error))
            continue
        if taken:
            log.info("took back trials of silent workers", count=taken)
