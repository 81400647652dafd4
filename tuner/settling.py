"""How a study ends by itself, or pauses because going on would be pointless."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Literal

from studies.errors import FailureKind
from tuner.budget import all_started, limit_reached
from tuner.db import lease_rows, study_rows, trial_rows
from tuner.extensions import go_back
from tuner.ledger import Change, Ledger
from tuner.promotion import end_set_aside, next_to_promote
from tuner.records import LIVE_STUDY_STATES, Study, TrialState

# So many trials in a row with one and the same failure: the study is at fault, not the trials.
SAME_FAILURES_TO_PAUSE = 3
OF_THE_STUDY: tuple[FailureKind, ...] = ("code", "data", "hardware")  # whatever the parameters are
_FRAME = re.compile(r'\s*File ".*", line \d+')
_VARYING = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-f]{8,}\b|[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def settle(change: Change, study: Study, now: datetime, *, ahead: timedelta = timedelta(0)) -> None:
    """Complete a running study whose budget is used up, or whose space is, and whose trials have all ended.

    Once a limit is reached, trials that run are stopped: a budget is never overshot. Hours are looked at `ahead`, the time
    until they will be looked at again.
    """
    current = study_rows.get_study(change.connection, study.id)
    if current is None or current.state != "running":
        return
    if current.reopened_from is not None:
        close_again(change, current, now)
        return
    limit = limit_reached(change.connection, current, now, ahead=ahead)
    reason = limit or all_started(current) or change.search(current).exhausted()
    if reason is None:
        return
    if limit is not None or _only_losers_wait(change, current):
        end_set_aside(change, current, now)
    if limit is not None:
        stop_trials(change, study.id, limit, now)
    if trial_rows.count_unfinished(change.connection, study.id) == 0:
        finished = _final_state(change, current)
        study_rows.set_state(change.connection, study.id, finished, allowed_from=("running",), reason=reason, now=now)
        change.forget_search(study.id)
        change.tell("study", study_id=study.id, state=finished)


def settle_all(ledger: Ledger, *, ahead: timedelta, now: datetime) -> None:
    """End studies that are done although nobody says anything any more: their hours are over, say. `ahead` as for `settle`."""

    def work(change: Change) -> None:
        for study in study_rows.running_studies(change.connection):
            settle(change, study, now, ahead=ahead)

    ledger.change(work)


def _only_losers_wait(change: Change, study: Study) -> bool:
    """Whether nothing is left of a study but trials that were set aside, of which none will ever go on."""
    if trial_rows.count_at_work(change.connection, study.id) > 0:
        return False
    return trial_rows.count_set_aside(change.connection, study.id) > 0 and next_to_promote(change, study) is None


def close_again(change: Change, study: Study, now: datetime) -> None:
    """A study that was over and ran for extended trials only is over as before once they have ended."""
    if study.reopened_from is None or trial_rows.count_unfinished(change.connection, study.id) > 0:
        return
    state = study.reopened_from
    allowed = LIVE_STUDY_STATES
    study_rows.set_state(change.connection, study.id, state, allowed_from=allowed, reason=study.reopened_reason, now=now)
    change.forget_search(study.id)
    change.tell("study", study_id=study.id, state=state)


def stop_trials(change: Change, study_id: str, reason: str, now: datetime, *, number: int | None = None) -> None:
    """End the study's trials that wait or run (or just one of them), and their leases. An extended one keeps its result."""
    unfinished: tuple[TrialState, ...] = ("waiting", "running")
    for trial in trial_rows.stop_trials(change.connection, study_id, states=unfinished, reason=reason, now=now, number=number):
        if trial.lease_id is not None:
            lease_rows.end_lease(change.connection, trial.lease_id, outcome="stopped", message=reason, now=now)
        if trial.extension is None:
            change.tell_search(trial)
        change.tell_trial(go_back(change, trial, reason, now) if trial.extension else trial)


def _final_state(change: Change, study: Study) -> Literal["completed", "failed"]:
    """A study none of whose trials gave a value has failed."""
    counts = study_rows.counts(change.connection, [study.id])[study.id]
    return "failed" if counts["failed"] == sum(counts.values()) else "completed"


def pause_if_hopeless(change: Change, study: Study, now: datetime) -> None:
    """Pause a study whose newest trials all failed alike, and show how: whoever reads it can mend the cause and resume.

    Failures that say something about parameters, not about the study, count only as long as nothing has worked at all.
    """
    newest = trial_rows.newest_ended(change.connection, study.id, limit=SAME_FAILURES_TO_PAUSE)
    kinds = {trial.failure_kind for trial in newest}
    marks = {alike(trial.failure_message or "") for trial in newest}
    if len(newest) < SAME_FAILURES_TO_PAUSE or len(kinds) > 1 or len(marks) > 1 or kinds == {None}:
        return
    counts = study_rows.counts(change.connection, [study.id])[study.id]
    if not kinds <= set(OF_THE_STUDY) and counts["completed"] + counts["pruned"] > 0:
        return
    reason = f"{len(newest)} trials in a row failed alike ({newest[0].failure_kind}): {newest[0].failure_message}"
    if study_rows.set_state(change.connection, study.id, "paused", allowed_from=("running",), reason=reason, now=now):
        change.tell("study", study_id=study.id, state="paused")


def alike(message: str) -> str:
    """What two messages of one cause have in common: a traceback's files, lines and functions, but no numbers or addresses."""
    lines = [line if _FRAME.match(line) else _VARYING.sub("#", line) for line in message.strip().splitlines()]
    return "\n".join(line.strip() for line in lines)
