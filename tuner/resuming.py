"""Taking a trial up again: from its checkpoint, and what was reported after that counts no more."""

from __future__ import annotations

import math
from datetime import datetime

from tuner.db import checkpoint_rows, file_rows, metric_rows, study_rows, trial_rows
from tuner.errors import StaleLease
from tuner.extensions import known_until
from tuner.ledger import Change, Ledger
from tuner.objectives import validation_scores
from tuner.records import Study, Trial
from tuner.spec import objective_of


def take_up(change: Change, study: Study, trial: Trial, now: datetime) -> None:
    """Go back to the trial's checkpoint: what was reported after it will be reported again."""
    checkpoint = checkpoint_rows.checkpoint_of(change.connection, trial.id)
    step = max(-1 if checkpoint is None else checkpoint.step, known_until(trial))
    superseded = metric_rows.supersede_metrics(change.connection, trial.id, after_step=step)
    if superseded and trial.extension is None:
        change.forget_search(study.id)
    if checkpoint is not None:
        scores = validation_scores(metric_rows.metrics_of(change.connection, trial.id), objective_of(study.spec).metric)
        trial_rows.note_progress(
            change.connection,
            trial.lease_id or "",
            step=checkpoint.step,
            epoch=checkpoint.epoch,
            value=scores[-1].value if scores and not math.isnan(scores[-1].value) else None,
            now=now,
        )


def start_over(ledger: Ledger, lease_id: str, *, now: datetime) -> None:
    """The file of the trial's checkpoint is gone: this attempt begins at the start, and will report everything again.

    The row goes too: it would keep earlier points from being stored. Raises StaleLease.
    """

    def work(change: Change) -> None:
        trial = trial_rows.trial_of_lease(change.connection, lease_id)
        study = None if trial is None else study_rows.get_study(change.connection, trial.study_id)
        if trial is None or study is None or trial.finished:
            raise StaleLease(lease_id)
        gone = checkpoint_rows.forget_checkpoint(change.connection, trial.id)
        # Its file may only have been out of reach.
        file_rows.add_loose(change.connection, gone, now=now)
        trial_rows.note_progress(change.connection, lease_id, step=0, epoch=None, value=None, now=now)
        take_up(change, study, trial, now)

    ledger.change(work)
