from __future__ import annotations

from datetime import timedelta

from tests.tuner.helpers import Bench
from tuner.db import lease_rows
from tuner.db.engine import Connection
from tuner.db.worker_rows import list_workers
from tuner.lifecycle import Actor


def test_a_lease_is_extended_while_it_is_open(bench: Bench) -> None:
    lease = bench.lease()
    write, later = bench.service.ledger.database.write, bench.clock.forward(10)
    expires = later + timedelta(seconds=60)
    assert write(lambda c: lease_rows.extend_lease(c, lease.id, expires_at=expires, now=later))
    with bench.service.ledger.read() as connection:
        found = lease_rows.get_lease(connection, lease.id)
        assert list_workers(connection)[0].seen_at == later
    assert found is not None and found.expires_at == expires
    bench.finish(lease, 0.5)
    assert not write(lambda c: lease_rows.extend_lease(c, lease.id, expires_at=expires, now=later))
    assert not write(lambda c: lease_rows.extend_lease(c, "nothing", expires_at=expires, now=later))


def test_the_first_end_of_a_lease_stands(bench: Bench) -> None:
    lease = bench.lease()

    def end_twice(connection: Connection) -> None:
        for outcome in ("released", "lost"):
            lease_rows.end_lease(connection, lease.id, outcome=outcome, message=None, now=bench.clock.forward(1))

    bench.service.ledger.database.write(end_twice)
    with bench.service.ledger.read() as connection:
        found = lease_rows.get_lease(connection, lease.id)
    assert found is not None and (found.outcome, found.ended_at) == ("released", bench.clock() - timedelta(seconds=1))


def test_a_lease_is_over_only_after_its_time(bench: Bench) -> None:
    lease = bench.lease()
    with bench.service.ledger.read() as connection:
        assert lease_rows.expired_leases(connection, now=bench.clock.forward(60)) == []
        assert [found.id for found in lease_rows.expired_leases(connection, now=bench.clock.forward(0.001))] == [lease.id]


def test_what_each_worker_holds(bench: Bench) -> None:
    first, second = bench.lease(), bench.lease()
    with bench.service.ledger.read() as connection:
        assert sorted(lease_rows.open_leases(connection)[bench.worker_id]) == [(bench.study_id, 0), (bench.study_id, 1)]
    bench.finish(first, 0.5)
    bench.finish(second, 0.5)
    with bench.service.ledger.read() as connection:
        assert lease_rows.open_leases(connection) == {}


def test_times_come_back_in_utc(bench: Bench) -> None:
    lease = bench.lease()
    with bench.service.ledger.read() as connection:
        found = lease_rows.get_lease(connection, lease.id)
    assert found is not None
    assert found.granted_at == bench.clock() and found.granted_at.utcoffset() == timedelta(0)


def test_the_gpus_of_a_lease_are_noted_while_it_is_open(bench: Bench) -> None:
    lease = bench.lease()

    def gpus() -> object:
        with bench.service.ledger.read() as connection:
            found = lease_rows.get_lease(connection, lease.id)
        assert found is not None
        return found.gpus

    assert gpus() is None
    bench.service.manager.heartbeat(lease.id, gpus=["GPU-1", "GPU-0"], now=bench.clock())
    bench.service.manager.heartbeat(lease.id, now=bench.clock())
    assert gpus() == ["GPU-1", "GPU-0"]
    bench.service.lifecycle.stop_trial(bench.study_id, lease.trial, actor=Actor(), now=bench.clock())
    assert bench.service.manager.heartbeat(lease.id, gpus=["GPU-2"], now=bench.clock()).stop
    assert gpus() == ["GPU-1", "GPU-0"]
