"""Short ways to what many tests of the service need: a study at work, and all rows for comparing before with after."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from tests.conftest import Clock
from tests.simulation import point, start_study, start_worker
from tuner.db import lease_rows, study_rows, trial_rows
from tuner.db.tables import metadata
from tuner.granting import Lease
from tuner.manager import Ending
from tuner.records import Study, Trial
from tuner.service import Service

LEASE_SECONDS = 60.0


@dataclass
class Bench:
    """One study, one worker, and the clock that both live by."""

    service: Service
    clock: Clock
    study_id: str
    worker_id: str

    def lease(self) -> Lease:
        lease = self.service.manager.lease(self.worker_id, now=self.clock())
        assert lease is not None
        return lease

    def report(self, lease: Lease, epoch: int, value: float) -> Any:
        return self.service.manager.report(lease.id, [point(epoch, value)], now=self.clock())

    def finish(self, lease: Lease, value: float) -> str:
        return self.service.manager.finish(lease.id, completed(value), now=self.clock())

    def complete(self, value: float) -> Trial:
        lease = self.lease()
        self.finish(lease, value)
        return self.trial(lease.trial)

    def fail(self, lease: Lease, kind: Any = "code", message: str = "broken") -> str:
        return self.service.manager.finish(lease.id, Ending(state="failed", failure=(kind, message)), now=self.clock())

    def study(self) -> Study:
        with self.service.ledger.read() as connection:
            found = study_rows.get_study(connection, self.study_id)
        assert found is not None
        return found

    def trial(self, number: int) -> Trial:
        with self.service.ledger.read() as connection:
            found = trial_rows.get_trial(connection, self.study_id, number)
        assert found is not None
        return found

    def outcomes(self, number: int) -> list[str | None]:
        """How each attempt at the trial ended."""
        with self.service.ledger.read() as connection:
            return [attempt.outcome for attempt in lease_rows.attempts_of(connection, self.trial(number).id)]

    def trials(self) -> list[Trial]:
        with self.service.ledger.read() as connection:
            return trial_rows.trials_of(connection, self.study_id)


def plain_study(service: Service, now: datetime, **changes: Any) -> Study:
    """A study that draws at random and prunes nothing, unless it is told to."""
    return start_study(service, now, **({"sampler": {"name": "random"}, "pruner": {"name": "none"}} | changes))


def make_bench(service: Service, clock: Clock, **changes: Any) -> Bench:
    study = plain_study(service, clock(), **changes)
    return Bench(service, clock, study.id, start_worker(service, clock()))


def completed(value: float, **others: float) -> Ending:
    return Ending(state="completed", values={"accuracy": value, **others})


def all_rows(service: Service) -> dict[str, list[Any]]:
    """Everything in the database, but for when a worker was last seen."""
    with service.ledger.read() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(select(*(c for c in table.c if c.name != "seen_at")))))
            for table in metadata.sorted_tables
        }
