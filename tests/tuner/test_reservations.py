"""Small trials keep coming, and a big one gets its turn."""

from __future__ import annotations

from typing import Any

from tests.conftest import Clock
from tests.tuner.helpers import Bench, completed, plain_study
from tuner.granting import Lease
from tuner.service import Service
from tuner.workforce import add_worker

GPU = {"name": "fake", "memory": 24 * 10**9}


def join(service: Service, clock: Clock, gpus: int = 2) -> str:
    return add_worker(service.ledger, host="n", pid=1, gpus=[GPU] * gpus, versions={}, now=clock()).id


def a_study(service: Service, clock: Clock, name: str, gpus: int, **changes: Any) -> str:
    clock.forward(1)
    body = {"name": name, "resources": {"gpus": gpus}, "parallelism": 50, "budget": {"trials": 50}} | changes
    return plain_study(service, clock(), **body).id


def finish(service: Service, clock: Clock, lease: Lease | None) -> None:
    assert lease is not None
    service.manager.finish(lease.id, completed(0.5), now=clock())


def test_a_worker_is_given_what_fits_into_what_it_has_free(service: Service, clock: Clock) -> None:
    big, small = a_study(service, clock, "big", 2), a_study(service, clock, "small", 1)
    worker = join(service, clock)
    leased = [service.manager.lease(worker, gpus=free, now=clock()) for free in (1, 2, None)]
    assert [lease and lease.study_id for lease in leased] == [small, big, big]
    assert service.manager.lease(join(service, clock, gpus=1), now=clock()) is not None
    a_study(service, clock, "none", 0)
    lease = service.manager.lease(join(service, clock, gpus=0), now=clock())
    assert lease is not None and lease.spec.name == "none"


def test_who_was_passed_over_for_long_enough_gets_the_worker(service: Service, clock: Clock) -> None:
    """One of two GPUs becomes free at a time: without a turn the big study would wait until the small one is over."""
    small, big = a_study(service, clock, "small", 1), a_study(service, clock, "big", 2)
    worker, ask = join(service, clock), service.manager.lease
    held = [ask(worker, gpus=2, now=clock()), ask(worker, gpus=1, now=clock())]
    for _ in range(20):
        clock.forward(service.manager.reservations.patience.total_seconds() / 5)
        finish(service, clock, held.pop(0))
        following = ask(worker, gpus=1, now=clock())
        if following is None:
            break
        assert following.study_id == small
        held.append(following)
    assert len(held) == 1, "it was never its turn"
    assert ask(worker, gpus=1, now=clock()) is None, "kept free"
    other = ask(join(service, clock), gpus=1, now=clock())
    assert other is not None and other.study_id == small, "another worker goes on with small ones"
    finish(service, clock, held.pop())
    turn = ask(worker, gpus=2, now=clock())
    assert turn is not None and turn.study_id == big
    finish(service, clock, turn)
    after = ask(worker, gpus=2, now=clock())
    assert after is not None and after.study_id == small, "one turn, then the others again"


def test_a_worker_is_not_kept_for_a_study_that_has_nothing_to_start(service: Service, clock: Clock) -> None:
    a_study(service, clock, "small", 1)
    big = a_study(service, clock, "big", 2, budget={"trials": 1})
    first, second = join(service, clock), join(service, clock)
    assert service.manager.lease(first, gpus=1, now=clock()) is not None
    clock.forward(40)
    assert service.manager.lease(first, gpus=1, now=clock()) is None, "kept"
    lease = service.manager.lease(second, studies=[big], gpus=2, now=clock())
    assert lease is not None, "its only trial"
    assert service.manager.lease(first, gpus=1, now=clock()) is not None


def test_when_a_worker_that_was_kept_is_gone_another_is(service: Service, clock: Clock) -> None:
    a_study(service, clock, "small", 1)
    big = a_study(service, clock, "big", 2)
    workers = [join(service, clock), join(service, clock)]
    assert all(service.manager.lease(worker, gpus=1, now=clock()) for worker in workers)
    clock.forward(40)
    assert service.manager.lease(workers[0], gpus=1, now=clock()) is None
    clock.forward(61)
    assert service.manager.lease(workers[1], gpus=1, now=clock()) is None
    lease = service.manager.lease(workers[1], gpus=2, now=clock())
    assert lease is not None and lease.study_id == big


def test_a_gpu_that_was_set_aside_counts_no_more(bench: Bench, service: Service, clock: Clock) -> None:
    from tuner.workforce import tell_worker

    big = a_study(service, clock, "big", 2)
    worker = join(service, clock)
    tell_worker(service.ledger, worker, [GPU, GPU | {"set_aside": "vanished"}], now=clock())
    assert service.manager.lease(worker, studies=[big], now=clock()) is None
    tell_worker(service.ledger, worker, [GPU, GPU], now=clock())
    assert service.manager.lease(worker, studies=[big], now=clock()) is not None
