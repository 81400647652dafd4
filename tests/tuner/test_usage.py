from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.api.dashboard.factories import START, a_trial
from tests.simulation import study_body
from tuner.spec import parse
from tuner.usage import spared_by_activations, spared_by_pruning, usage

HOUR = timedelta(hours=1)
SPEC = parse(study_body())


def test_hours_of_workers_and_gpus() -> None:
    held = [(START, START + HOUR, [{"name": "L4"}]), (START, None, [])]
    spent = usage([], held, SPEC, now=START + 3 * HOUR)
    assert (spent.worker_hours, spent.gpu_hours) == (4.0, 1.0)
    assert (spent.pruning_saved_hours, spent.activations_saved_hours, dict(spent.failures)) == (None, None, {})


def test_a_trial_of_several_gpus_uses_all_of_them() -> None:
    held = [(START, START + HOUR, [{"name": "L4"}] * 8)]
    spec = parse(study_body(resources={"gpus": 4}))
    assert usage([], held, spec, now=START).gpu_hours == 4.0


def test_a_pruned_trial_spares_the_epochs_that_it_did_not_train() -> None:
    trial = replace(a_trial(1, "pruned", value=0.2, params={"epochs": 9}), epoch=3.0)
    trial = replace(trial, busy_seconds=25.0)  # for 3 of 9 epochs, however long it was set aside meanwhile
    assert spared_by_pruning(trial) == pytest.approx(50 / 3600)
    assert spared_by_pruning(replace(trial, epoch=None)) is None
    assert spared_by_pruning(replace(trial, params={})) is None
    assert usage([trial], [], SPEC, now=START).pruning_saved_hours == pytest.approx(50 / 3600)


def test_what_the_activation_cache_spared_is_what_workers_told() -> None:
    trial = replace(a_trial(1), details={"prefix": {"saved_seconds": 72.0, "bytes": 5}})
    assert spared_by_activations(trial) == pytest.approx(0.02)
    assert spared_by_activations(a_trial(2)) is None


def test_failures_by_kind() -> None:
    trials = [a_trial(0, "failed", failure_kind="oom"), a_trial(1, "failed", failure_kind="oom"), a_trial(2, value=0.5)]
    assert usage(trials, [], SPEC, now=START).failures == {"oom": 2}
