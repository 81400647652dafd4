"""The service without its HTTP server: the database brought up to date, and everything that works on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from tuner.access import Access
from tuner.artifacts import ArtifactStore
from tuner.db.engine import Database
from tuner.db.migrate import upgrade
from tuner.errors import Conflict, Deposed, Unavailable
from tuner.events import EventLog
from tuner.leadership import Leadership, owner_alive
from tuner.ledger import Ledger
from tuner.lifecycle import Lifecycle
from tuner.manager import Manager
from tuner.settings import Settings
from tuner.settling import settle_all
from tuner.trial_cache import TrialCache

log = structlog.get_logger()
_BETWEEN_NOTES_OF_USE = timedelta(minutes=1)
_SECONDS_BEFORE_SWEEPS = 60.0  # a service that has just started has better things to do
_SECONDS_BETWEEN_SWEEPS = 3600.0
_SECONDS_TO_END_A_SWEEP = 10.0  # it looks after each file whether it is to end, and a store may hang


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
    trials: TrialCache


@contextmanager
def open_service(
    settings: Settings,
    *,
    clock: Callable[[], datetime] = utc_now,
    leadership: Leadership | None = None,
    on_deposed: Callable[[], None] = lambda: None,
) -> Iterator[Service]:
    """Bring the database's schema up to date and own it, take back expired leases meanwhile, close cleanly.

    `leadership` is what `wait_for_lead` has taken. Raises Conflict, without it, if another service owns the database.
    `on_deposed` is called, from a thread, if another one takes over although this one lives: it was silent for too long.
    """
    upgrade(settings.url)
    events = EventLog()
    database = Database(settings.url)
    if leadership is None:
        leadership = Leadership(clock)
        if not database.write(leadership.take):
            database.close()
            raise Conflict("another service owns this database; end it first, or let this one stand by")
    database.guard = leadership.confirm
    ledger = Ledger(database, events)
    service = Service(
        settings=settings,
        ledger=ledger,
        events=events,
        manager=Manager(ledger, lease_seconds=settings.lease_seconds),
        lifecycle=Lifecycle(ledger),
        access=Access(ledger),
        trials=TrialCache(),
        artifacts=ArtifactStore(ledger, settings.artifact_place, max_bytes=settings.max_artifact_bytes),
    )
    closing = threading.Event()

    def expire() -> None:
        try:
            _expire_now_and_then(service, clock, closing)
        except Deposed as error:
            log.error("this service ends", reason=str(error))
            on_deposed()

    timer = threading.Thread(target=expire, name="lease-timer", daemon=True)
    sweeper = threading.Thread(target=_sweep_now_and_then, args=(service, clock, closing), name="file-sweeper", daemon=True)
    timer.start()
    sweeper.start()
    try:
        yield service
    finally:
        closing.set()
        timer.join()
        sweeper.join(_SECONDS_TO_END_A_SWEEP)
        with suppress(Unavailable):  # whoever took over, or comes next, need not be told
            service.access.note_use()
            database.write(leadership.resign)
        database.close()


def wait_for_lead(
    settings: Settings,
    *,
    meanwhile: Callable[[str], AbstractContextManager[object]] = nullcontext,
    clock: Callable[[], datetime] = utc_now,
    every: float = 0.5,
) -> Leadership:
    """Own the database, as soon as no other service does. One that stands by already outlasts a database that is away.

    While it waits `meanwhile` is open, which is told what for.
    """
    upgrade(settings.url)
    leadership, database = Leadership(clock), Database(settings.url)
    told: str | None = None
    with ExitStack() as waiting:
        waiting.callback(database.close)
        while True:
            try:
                with database.read() as connection:
                    waits_for = owner_alive(connection, now=clock())
                if waits_for is None and database.write(leadership.take):
                    return leadership
            except Unavailable as error:
                waits_for = str(error)
            if told is None and waits_for is not None:
                waiting.enter_context(meanwhile(waits_for))
            if waits_for != told:
                log.info("standing by", waits_for=waits_for)
                told = waits_for
            time.sleep(every)


class Attendance:
    """Since when the service has been there without a break, as far as its workers can tell.

    While it is away (not started, database gone, machine asleep) nobody can renew a lease. So none is taken back before
    the service has been there again for as long as a lease lasts.
    """

    def __init__(self, now: datetime, *, longest_break: timedelta) -> None:
        self.since = self.seen = now
        self.longest_break = longest_break

    def note(self, now: datetime) -> None:
        """It is there now: the database has just been written to."""
        if abs(now - self.seen) > self.longest_break:
            self.since = now
        self.seen = now

    def lasts(self, now: datetime, time: timedelta) -> bool:
        return now - self.since >= time


def _expire_now_and_then(service: Service, clock: Callable[[], datetime], closing: threading.Event) -> None:
    manager, noted = service.manager, clock()
    attendance = Attendance(clock(), longest_break=2 * manager.tick)
    while not closing.wait(manager.tick.total_seconds()):
        try:
            settle_all(service.ledger, ahead=manager.tick, now=clock())
            attendance.note(clock())
            manager.time_out(since=attendance.since, now=clock())
            taken = manager.expire(now=clock()) if attendance.lasts(clock(), manager.lease_time) else 0
            if clock() - noted > _BETWEEN_NOTES_OF_USE:
                noted = clock()
                service.access.note_use()
        except Deposed:
            raise
        except Unavailable as error:
            log.warning("leases could not be checked", error=str(error))
            continue
        if taken:
            log.info("took back trials of silent workers", count=taken)


def _sweep_now_and_then(service: Service, clock: Callable[[], datetime], closing: threading.Event) -> None:
    """On a thread of its own: a store that answers slowly must not hold up the leases."""
    pause = _SECONDS_BEFORE_SWEEPS
    while not closing.wait(pause):
        pause = _SECONDS_BETWEEN_SWEEPS
        try:
            removed = service.artifacts.sweep(now=clock(), until=closing.is_set)
        except Deposed:
            return
        except Unavailable as error:
            log.warning("files could not be swept", reason=str(error))
            continue
        if removed:
            log.info("removed files that belonged to nothing", count=removed)
