from __future__ import annotations

import math
import struct
import sys

from tests.tuner.helpers import Bench
from tuner.db import metric_rows
from tuner.manager import Ending
from tuner.records import MetricPoint

FLOATS = [
    0.1 + 0.2,
    1 / 3,
    math.pi * 1e-200,
    5e-324,
    2.2250738585072014e-308,
    sys.float_info.max,
    -sys.float_info.max,
    math.inf,
    -math.inf,
    math.nan,
    1e15 + 0.3,
    float(2**53 + 2),
    123456789.12345679,
]


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def test_every_float_comes_back_bit_by_bit(bench: Bench) -> None:
    lease = bench.lease()
    points = [
        MetricPoint(name="loss", value=value, step=step, epoch=abs(value) if math.isfinite(value) else None, split="validation")
        for step, value in enumerate(FLOATS, start=1)
    ]
    bench.service.manager.report(lease.id, points, now=bench.clock())
    with bench.service.ledger.read() as connection:
        stored = metric_rows.metrics_of(connection, bench.trial(0).id)
    assert [bits(p.value) for p in stored] == [bits(p.value) for p in points]
    assert [p.epoch for p in stored] == [p.epoch for p in points]


def test_every_value_of_a_trial_comes_back_bit_by_bit(bench: Bench) -> None:
    for value in FLOATS:
        if math.isnan(value):
            continue
        lease = bench.lease()
        values = {"accuracy": value} | {f"m{index}": other for index, other in enumerate(FLOATS)}
        bench.service.manager.finish(lease.id, Ending(state="completed", values=values), now=bench.clock())
        trial = bench.trial(lease.trial)
        assert trial.value is not None and bits(trial.value) == bits(value)
        assert {name: bits(v) for name, v in trial.values.items()} == {name: bits(v) for name, v in values.items()}


def test_steps_may_be_large(bench: Bench) -> None:
    lease = bench.lease()
    point = MetricPoint(name="accuracy", value=0.5, step=2**53 - 1, epoch=None, split="validation")
    bench.service.manager.report(lease.id, [point], now=bench.clock())
    assert bench.trial(0).step == 2**53 - 1


def test_splits_and_names_are_kept_apart(bench: Bench) -> None:
    lease = bench.lease()
    points = [
        MetricPoint(name=name, value=0.5, step=1, epoch=1.0, split=split)
        for name in ("accuracy", "loss", "ä" * 100)
        for split in ("train", "validation")
    ]
    bench.service.manager.report(lease.id, points, now=bench.clock())
    with bench.service.ledger.read() as connection:
        stored = metric_rows.metrics_of(connection, bench.trial(0).id)
        of_study = metric_rows.scores_of_study(connection, bench.study_id, "accuracy")
        names = metric_rows.metric_names(connection, bench.study_id)
    assert sorted(map(repr, stored)) == sorted(map(repr, points))
    assert of_study == {0: [points[1]]}
    assert set(names) == {(point.split, point.name) for point in points}


def test_points_of_certain_trials(bench: Bench) -> None:
    for value in (0.1, 0.2, 0.3):
        lease = bench.lease()
        bench.report(lease, 1, value)
        bench.finish(lease, value)
    with bench.service.ledger.read() as connection:
        found = metric_rows.metrics_of_study(connection, bench.study_id, numbers=[0, 2])
        assert metric_rows.metrics_of_study(connection, bench.study_id, numbers=[]) == {}
    assert {number: [p.value for p in points] for number, points in found.items()} == {0: [0.1], 2: [0.3]}


def test_log_lines_are_numbered_on_through_all_attempts(bench: Bench) -> None:
    first = bench.lease()
    bench.service.manager.log(first.id, ["a", "", "ü\ttab"], now=bench.clock())
    bench.service.manager.log(first.id, [], now=bench.clock())
    bench.service.manager.finish(first.id, Ending(state="released"), now=bench.clock())
    bench.service.manager.log(bench.lease().id, ["d"], now=bench.clock())
    with bench.service.ledger.read() as connection:
        trial_id = bench.trial(0).id
        lines = metric_rows.logs_of(connection, trial_id)
        assert [line.text for line in metric_rows.logs_of(connection, trial_id, after=1, limit=2)] == ["", "ü\ttab"]
    assert [(line.seq, line.attempt, line.text) for line in lines] == [(1, 1, "a"), (2, 1, ""), (3, 1, "ü\ttab"), (4, 2, "d")]
