"""More epochs for a trial that has ended: what is asked of it then, and what becomes of it if that comes to nothing."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime

from studies.catalog import definition
from studies.definition import ParamValue
from tuner.db import trial_rows
from tuner.ledger import Change
from tuner.records import Ended, Extension, Study, Trial, TrialState

EXTENDABLE: tuple[TrialState, ...] = ("completed", "pruned", "stopped")


def extension_of(study: Study, trial: Trial, epochs: int) -> Extension:
    """`epochs` more than the trial has reached.

    Up to the planned number of epochs it goes on under the schedule it was started with. Beyond that each extension is one
    more leg: the schedule's shape again, without warm-up (SGDR, Loshchilov & Hutter 2017).
    """
    earlier = trial.extension
    legs = earlier.legs if earlier else (planned_epochs(study, trial),)
    until = int(trial.epoch or 0.0) + epochs
    ended = Ended(**{entry.name: getattr(trial, entry.name) for entry in fields(Ended)})
    return Extension(
        until=until, legs=legs if until <= legs[-1] else (*legs, until), first=earlier.first if earlier else ended, before=ended
    )


def planned_epochs(study: Study, trial: Trial) -> int:
    epochs = definition(study.spec.task).completed(trial.params)["epochs"]
    assert isinstance(epochs, int | float)
    return int(epochs)


def params_of_attempt(trial: Trial) -> dict[str, ParamValue]:
    """What a worker is given: an extended trial ends at another epoch than the one that was drawn."""
    return dict(trial.params) | ({"epochs": trial.extension.until} if trial.extension else {})


def known_until(trial: Trial) -> int:
    """The last step of which an earlier attempt's numbers stand for ever; -1 if there is none."""
    before = trial.extension.before if trial.extension else None
    return -1 if before is None or before.step is None else before.step


def ended_anew(change: Change, trial: Trial) -> Trial:
    """An extended trial has run to its end: the result replaces the one before."""
    return trial_rows.end_extension(change.connection, trial) if trial.extension else trial


def go_back(change: Change, trial: Trial, why: str, now: datetime) -> Trial:
    """The extension came to nothing: the trial's result is again the one that it had before."""
    assert trial.extension is not None and trial.extension.before is not None
    before = trial.extension.before
    reason = f"{before.reason}; its extension ended: {why}" if before.reason else f"its extension ended: {why}"
    return trial_rows.end_extension(change.connection, trial, back_to=before, reason=reason)
