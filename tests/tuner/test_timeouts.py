from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from studies.errors import InvalidInput
from tests.conftest import Clock
from tests.simulation import study_body
from tests.tuner.helpers import LEASE_SECONDS, Bench, make_bench
from tests.tuner.test_worker import lease_of
from tuner.client import Client
from tuner.errors import StaleLease
from tuner.leased_trial import LeasedTrial
from tuner.manager import Ending
from tuner.service import Service
from tuner.spec import parse
from tuner.worker import Watch

SINCE_EVER = timedelta(days=1)


def limited(service: Service, clock: Clock, **timeouts: float) -> Bench:
    return make_bench(service, clock, timeouts=timeouts)


def time_out(bench: Bench) -> int:
    return bench.service.manager.time_out(since=bench.clock() - SINCE_EVER, now=bench.clock())


def test_a_trial_that_runs_too_long_fails_and_is_not_tried_again(service: Service, clock: Clock) -> None:
    bench = limited(service, clock, trial_seconds=100)
    lease = bench.lease()
    assert lease.seconds_left == 100
    clock.forward(100 + LEASE_SECONDS)
    assert time_out(bench) == 0, "its worker has the first word"
    clock.forward(1)
    assert time_out(bench) == 1
    trial = bench.trial(0)
    assert (trial.state, trial.failure_kind) == ("failed", "timeout")
    assert trial.failure_message == "it ran for longer than timeouts.trial_seconds, 100 s"
    with pytest.raises(StaleLease):
        service.manager.heartbeat(lease.id, now=clock())


def test_only_time_under_leases_counts(service: Service, clock: Clock) -> None:
    bench = limited(service, clock, trial_seconds=100)
    lease = bench.lease()
    clock.forward(30)
    service.manager.finish(lease.id, Ending(state="released"), now=clock())
    clock.forward(1000)
    again = bench.lease()
    assert (again.trial, again.seconds_left) == (0, 70)
    assert bench.trial(0).busy_seconds == 30


def test_a_trial_that_reports_nothing_fails(service: Service, clock: Clock) -> None:
    bench = limited(service, clock, no_progress_seconds=50)
    lease = bench.lease()
    clock.forward(100)
    bench.report(lease, 1, 0.4)
    clock.forward(50 + LEASE_SECONDS)
    assert time_out(bench) == 0
    clock.forward(1)
    assert time_out(bench) == 1
    assert bench.trial(0).failure_message == "it reported nothing for timeouts.no_progress_seconds, 50 s"


def test_silence_while_the_service_was_away_does_not_count(service: Service, clock: Clock) -> None:
    bench = limited(service, clock, no_progress_seconds=50)
    bench.lease()
    back = clock.forward(10_000)
    assert service.manager.time_out(since=back, now=clock.forward(100)) == 0
    assert service.manager.time_out(since=back, now=clock.forward(11)) == 1


def test_a_worker_watches_its_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with Client("http://127.0.0.1:9", "none") as client:
        lease = lease_of(timeouts={"trial_seconds": 100, "no_progress_seconds": 40}) | {"seconds_left": 70.0}
        watch = Watch(LeasedTrial(client, lease))
        assert watch.late() is None
        now = 41.0
        assert "no_progress_seconds, 40 s" in str(watch.late())
        watch.heard()
        assert watch.late() is None
        now = 71.0
        assert "trial_seconds, 100 s" in str(watch.late())


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"trial_seconds": 0}, "timeouts.trial_seconds"),
        ({"no_progress_seconds": "soon"}, "timeouts.no_progress_seconds"),
        ({"hours": 1}, "timeouts.hours"),
    ],
)
def test_a_wrong_timeout_names_its_field(given: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse(study_body(timeouts=given))
    assert [error.field for error in refusal.value.errors] == [field]
