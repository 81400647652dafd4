"""Trials set aside at a rung: they wait without a worker until they rank high enough to go on from their checkpoint.

This is asynchronous successive halving as published (Li et al. 2020, algorithm 2). Such a trial is `waiting`, and its reason says
for what. A worker that asks gets a trial that was interrupted first, then one that can be promoted, then a new one. Once no new
trial can come and nothing else is at work, the best of each rung that no trial has left goes on, so that a study never ends
without a searched trial that ran to its end; after that those that still wait end as pruned.
"""

from __future__ import annotations

from datetime import datetime

from studies.definition import Verdict
from tuner.budget import all_started
from tuner.db import trial_rows
from tuner.errors import StaleLease
from tuner.ledger import Change
from tuner.pruners import promotes
from tuner.records import Study, Trial

PROMOTED_LATER = Verdict(stop=True, reason="promoted_later")
SET_ASIDE = "set aside, to be promoted later"  # what such a lease ended with
_WAITS = "; it waits there and goes on once it ranks high enough"


def set_aside(change: Change, study: Study, trial: Trial, reason: str, now: datetime) -> Verdict:
    """Tell a trial to leave a checkpoint and give its worker back. It waits from when the worker has done so, or was lost."""
    waits = trial_rows.set_aside(change.connection, trial.lease_id or "", reason=reason + _WAITS, now=now)
    if waits is None:
        raise StaleLease(trial.lease_id or "")
    change.search(study).set_aside(trial.number)
    change.tell_trial(waits)
    return PROMOTED_LATER


def next_to_promote(change: Change, study: Study) -> Trial | None:
    """The trial that should go on first, if any may; nothing is changed yet."""
    if not promotes(study.spec.pruner) or trial_rows.count_set_aside(change.connection, study.id) == 0:
        return None
    race = change.search(study).race
    found = _first_that_waits(change, study, list(race.promotable()))
    no_more_come = all_started(study) or change.search(study).exhausted()
    if found is None and no_more_come and trial_rows.count_at_work(change.connection, study.id) == 0:
        found = _first_that_waits(change, study, list(race.last_promotable()))
    return found


def promote(change: Change, study: Study, started: Trial) -> None:
    """Note that a trial that was set aside has started again."""
    search = change.search(study)
    search.go_on(started.number)
    memory = dict(started.search_attrs) | search.race.memory(started.number)
    trial_rows.set_search_attrs(change.connection, started.id, memory)


def end_set_aside(change: Change, study: Study, now: datetime) -> None:
    """Those that still wait have lost the race."""
    for trial in trial_rows.prune_set_aside(change.connection, study.id, suffix=_WAITS, now=now):
        change.tell_search(trial)
        change.tell_trial(trial)


def change_rule(change: Change, study: Study) -> None:
    """The study has another pruner: rungs that trials have come to are behind them, but for those that wait and still may."""
    race = change.search(study).race
    for trial in trial_rows.trials_of(change.connection, study.id):
        aside = trial.set_aside_at is not None and not trial.finished and race.may_wait(trial.number)
        race.restart(trial.number, aside=aside)
        others = {name: value for name, value in trial.search_attrs.items() if name != race.MEMORY}
        memory = others | race.memory(trial.number)
        if memory != trial.search_attrs:
            trial_rows.set_search_attrs(change.connection, trial.id, memory)
        if trial.set_aside_at is not None and not aside and not trial.finished:
            trial_rows.let_wait_no_longer(change.connection, trial.id)
    change.forget_search(study.id)


def _first_that_waits(change: Change, study: Study, numbers: list[int]) -> Trial | None:
    """Of those that may go on, one whose worker has let go of it."""
    for number in numbers:
        trial = trial_rows.get_trial(change.connection, study.id, number)
        if trial is not None and trial.state == "waiting" and trial.set_aside_at is not None:
            return trial
    return None
