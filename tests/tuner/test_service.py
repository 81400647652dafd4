from __future__ import annotations

from datetime import timedelta

from tests.conftest import Clock
from tuner.service import Attendance

LEASE = timedelta(seconds=60)


def test_no_lease_runs_out_before_the_service_has_been_there_for_as_long_as_one_lasts(clock: Clock) -> None:
    attendance = Attendance(clock(), longest_break=timedelta(seconds=10))
    for _ in range(11):
        attendance.note(clock.forward(5))
        assert not attendance.lasts(clock(), LEASE)
    attendance.note(clock.forward(5))
    assert attendance.lasts(clock(), LEASE)


def test_after_a_break_it_has_to_be_there_as_long_again(clock: Clock) -> None:
    attendance = Attendance(clock(), longest_break=timedelta(seconds=10))
    attendance.note(clock.forward(9))
    attendance.note(clock.forward(300))
    assert attendance.since == clock()
    assert not attendance.lasts(clock.forward(59), LEASE)
    assert attendance.lasts(clock.forward(1), LEASE)


def test_a_clock_that_is_set_back_is_a_break_too(clock: Clock) -> None:
    attendance = Attendance(clock(), longest_break=timedelta(seconds=10))
    attendance.note(clock.forward(-3600))
    assert not attendance.lasts(clock.forward(59), LEASE)
    assert attendance.lasts(clock.forward(1), LEASE)
