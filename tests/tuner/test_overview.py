from __future__ import annotations

import pytest

from tests.conftest import Clock
from tests.tuner.helpers import Bench, make_bench, plain_study
from tuner.lifecycle import Actor
from tuner.manager import Ending
from tuner.overview import Overview, best_of, best_so_far, overview, overviews, trial_seconds
from tuner.records import Trial
from tuner.service import Service


def look(bench: Bench) -> Overview:
    with bench.service.ledger.read() as connection:
        return overview(connection, bench.study(), now=bench.clock())


def best(bench: Bench) -> Trial | None:
    with bench.service.ledger.read() as connection:
        return best_of(connection, bench.study())


def test_a_fresh_study(service: Service, clock: Clock) -> None:
    seen = look(make_bench(service, clock, budget={"trials": 4}))
    assert (seen.progress, seen.eta_seconds, seen.best, seen.default, seen.majority) == (0.0, None, None, None, None)
    assert seen.counts == {"waiting": 1, "running": 0, "completed": 0, "pruned": 0, "stopped": 0, "failed": 0}
    assert list(seen.trend) == []


def test_progress_counts_every_end(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"trials": 4})
    bench.complete(0.5)
    bench.fail(bench.lease())
    service.lifecycle.stop_trial(bench.study_id, bench.lease().trial, actor=Actor(), now=clock())
    assert look(bench).progress == 0.75
    assert make_and_look_without_limit(service, clock).progress is None


def make_and_look_without_limit(service: Service, clock: Clock) -> Overview:
    return look(make_bench(service, clock, name="endless", budget={"trials": None, "hours": 1}))


def test_the_best_is_the_best_completed_one_and_of_equals_the_first(bench: Bench) -> None:
    for value in (0.5, 0.7, 0.7):
        bench.complete(value)
    running = bench.lease()
    bench.report(running, 1, 0.99)
    found = best(bench)
    assert found is not None and found.number == 1


def test_the_best_is_the_smallest_where_small_is_good(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, objective={"metric": "accuracy", "direction": "minimize"})
    for value in (0.5, 0.3, 0.7):
        bench.complete(value)
    found = best(bench)
    assert found is not None and found.number == 1


def test_before_the_first_has_completed_a_stopped_one_is_best(bench: Bench) -> None:
    lease = bench.lease()
    bench.report(lease, 1, 0.4)
    bench.service.lifecycle.stop_trial(bench.study_id, 0, actor=Actor(), now=bench.clock())
    found = best(bench)
    assert found is not None and found.number == 0
    bench.complete(0.1)
    found = best(bench)
    assert found is not None and found.number == 1


def test_the_default_is_shown_once_it_has_completed(bench: Bench) -> None:
    lease = bench.lease()
    bench.report(lease, 1, 0.4)
    assert look(bench).default is None
    bench.finish(lease, 0.4)
    default = look(bench).default
    assert default is not None and (default.number, default.value) == (0, 0.4)


def test_time_left_follows_the_pace_so_far(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"trials": 5}, parallelism=2)
    first = bench.lease()
    clock.forward(100)
    bench.finish(first, 0.5)
    second, third = bench.lease(), bench.lease()
    clock.forward(40)
    # Two trials to come at 100 s each and two halfway with 60 s left each, two side by side.
    assert look(bench).eta_seconds == pytest.approx((60 + 60 + 200) / 2)
    service.lifecycle.pause(bench.study_id, actor=Actor(), now=clock())
    assert look(bench).eta_seconds is None
    assert {second.trial, third.trial} == {1, 2}


def test_a_trials_time_runs_from_its_first_start_to_its_end(bench: Bench) -> None:
    assert trial_seconds(bench.trial(0), bench.clock()) is None
    lease = bench.lease()
    bench.clock.forward(10)
    assert trial_seconds(bench.trial(0), bench.clock()) == 10
    bench.finish(lease, 0.5)
    bench.clock.forward(10)
    assert trial_seconds(bench.trial(0), bench.clock()) == 10


def test_many_studies_at_once(bench: Bench) -> None:
    bench.complete(0.5)
    other = plain_study(bench.service, bench.clock(), name="other")
    with bench.service.ledger.read() as connection:
        seen = overviews(connection, [bench.study(), other], now=bench.clock())
    assert [entry.counts["completed"] for entry in seen] == [1, 0]
    with bench.service.ledger.read() as connection:
        assert overviews(connection, [], now=bench.clock()) == []


@pytest.mark.parametrize(
    ("values", "maximize", "expected"),
    [([], True, []), ([1, 3, 2], True, [1, 3, 3]), ([3, 1, 2], False, [3, 1, 1])],
)
def test_the_best_so_far(values: list[float], maximize: bool, expected: list[float]) -> None:
    assert best_so_far(values, maximize=maximize) == expected


def test_the_best_so_far_is_thinned_but_ends_with_the_best() -> None:
    for count in (40, 41, 79, 80, 1000):
        found = best_so_far([float(value) for value in range(count)], maximize=True)
        assert len(found) <= 40 and found[-1] == count - 1 and found == sorted(found)


def test_what_stored_states_saved_is_summed_over_trials(bench: Bench) -> None:
    for saved in (2.5, -0.5):
        details = {"prefix": {"depth": 3, "saved_seconds": saved}}
        ending = Ending(state="completed", values={"accuracy": 0.5}, details=details)
        bench.service.manager.finish(bench.lease().id, ending, now=bench.clock())
    bench.complete(0.5)
    assert look(bench).saved_seconds == 2.0
    with bench.service.ledger.read() as connection:
        assert overviews(connection, [bench.study()], now=bench.clock())[0].saved_seconds is None
