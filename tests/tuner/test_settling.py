from __future__ import annotations

import pytest

from tests.conftest import Clock
from tests.tuner.helpers import Bench, make_bench
from tuner.service import Service
from tuner.settling import alike

TRACE = 'Traceback:\n  File "/x/loop.py", line {line}, in train\n    loss.backward()\nRuntimeError: size {size} at 0x7f{size}a'


def fail_with(bench: Bench, *messages: str, kind: str = "code") -> None:
    for message in messages:
        bench.clock.forward(1)
        bench.fail(bench.lease(), kind, message)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (TRACE.format(line=7, size=12), TRACE.format(line=7, size=999), True),
        (TRACE.format(line=7, size=12), TRACE.format(line=8, size=12), False),
        ("lost 3.5e-7 of 10", "lost 1 of 2", True),
        ("no file a.csv", "no file b.csv", False),
        ("job 3fa9c2d1e0 died", "job 77aa00bb11 died", True),
    ],
)
def test_numbers_and_addresses_do_not_tell_failures_apart(one: str, other: str, same: bool) -> None:
    assert (alike(one) == alike(other)) is same


def test_three_failures_alike_in_a_row_pause_a_study_that_had_worked(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock)
    bench.complete(0.5)
    fail_with(bench, *(TRACE.format(line=7, size=size) for size in (1, 2)))
    assert bench.study().state == "running"
    fail_with(bench, TRACE.format(line=7, size=3))
    study = bench.study()
    assert study.state == "paused"
    assert str(study.reason).startswith("3 trials in a row failed alike (code): Traceback")


def test_what_parameters_cause_does_not_pause_a_study_that_works(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock)
    bench.complete(0.5)
    fail_with(bench, *["out of memory"] * 4, kind="oom")
    assert bench.study().state == "running"


def test_a_study_nothing_of_which_works_pauses_whatever_the_kind(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock)
    fail_with(bench, *["out of memory"] * 3, kind="oom")
    assert bench.study().state == "paused"


def test_a_success_between_them_keeps_a_study_going(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock)
    for _ in range(3):
        fail_with(bench, "broken", "broken")
        clock.forward(1)
        bench.complete(0.5)
    assert bench.study().state == "running"
