from __future__ import annotations

from datetime import timedelta

from tests.conftest import Clock
from tests.simulation import point, start_study, start_worker
from tuner.db.trial_rows import trials_of
from tuner.lifecycle import Actor
from tuner.manager import Ending
from tuner.service import Service
from tuner.trial_cache import MOST_STUDIES, SETTLED_AFTER, TrialCache


def test_it_answers_what_the_rows_say_at_every_step(service: Service, clock: Clock) -> None:
    study = start_study(service, clock(), pruner={"name": "none"})
    worker_id = start_worker(service, clock())
    cache = TrialCache()

    def agrees() -> None:
        with service.ledger.read() as connection:
            assert list(cache.trials_of(connection, study.id, now=clock())) == trials_of(connection, study.id)

    agrees()
    for number in range(3):
        lease = service.manager.lease(worker_id, now=clock.forward(1))
        assert lease is not None
        agrees()
        service.manager.report(lease.id, [point(1, 0.1 * number)], now=clock.forward(1))
        agrees()
        service.manager.finish(lease.id, Ending(state="completed", values={"accuracy": 0.5}), now=clock.forward(1))
        agrees()
    clock.forward((2 * SETTLED_AFTER).total_seconds())
    agrees()
    service.lifecycle.enqueue(study.id, {"epochs": 4}, actor=Actor(), now=clock.forward(1))
    service.lifecycle.extend(study.id, 0, 2, actor=Actor(), now=clock.forward(1))
    agrees()
    service.lifecycle.stop(study.id, actor=Actor(), now=clock.forward(1))
    agrees()


def test_only_what_may_have_changed_is_read_again(service: Service, clock: Clock) -> None:
    study = start_study(service, clock(), pruner={"name": "none"})
    lease = service.manager.lease(start_worker(service, clock()), now=clock())
    assert lease is not None
    service.manager.finish(lease.id, Ending(state="completed", values={"accuracy": 0.5}), now=clock.forward(1))
    cache = TrialCache()
    with service.ledger.read() as connection:
        first = cache.trials_of(connection, study.id, now=clock.now + timedelta(hours=3))
        again = cache.trials_of(connection, study.id, now=clock.now + timedelta(hours=3))
        assert first[0] is again[0]


def test_it_holds_the_studies_looked_at_last(service: Service, clock: Clock) -> None:
    studies = [start_study(service, clock(), name=f"s{number}") for number in range(MOST_STUDIES + 1)]
    cache = TrialCache()
    with service.ledger.read() as connection:
        for study in studies:
            cache.trials_of(connection, study.id, now=clock())
    assert [study.id in cache for study in studies] == [False] + [True] * MOST_STUDIES
