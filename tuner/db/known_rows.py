"""Rows that the writer need not read again: what it knows of trials under a lease, and of their studies.

A service is the only one that changes its database (decision 0005), and does so on one thread (0002). A statement that changes
one of these rows and returns it, or says all that it changes, keeps what is known up to date; any other change makes
all of it forgotten, and so does whatever undoes a transaction. Only the writer's connection knows anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from tuner.records import Study, Trial

_MOST = 5_000  # trials: those under a lease, and those that ended last
_SEEN_AGAIN_AFTER = timedelta(seconds=1)


class Known:
    """Trials by lease, and studies by id."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._trials: dict[str, Trial] = {}
        self._leases: dict[int, str] = {}
        self._studies: dict[str, Study] = {}
        self._seen: dict[str, datetime] = {}

    def clear(self) -> None:
        self._trials.clear()
        self._leases.clear()
        self._studies.clear()
        self._seen.clear()

    def trial(self, lease_id: str) -> Trial | None:
        return self._trials.get(lease_id)

    def study(self, study_id: str) -> Study | None:
        return self._studies.get(study_id)

    def seen(self, worker_id: str, now: datetime) -> bool:
        """Whether the row of a worker says that it was heard of about now; else it will."""
        if abs(now - self._seen.get(worker_id, now - _SEEN_AGAIN_AFTER)) < _SEEN_AGAIN_AFTER:
            return True
        if self._most:
            self._seen[worker_id] = now
        return False

    def keep_trial(self, trial: Trial | None) -> None:
        """What the row of a trial is now."""
        if trial is None or trial.lease_id is None or not self._most:
            return
        if len(self._trials) >= self._most:
            self.clear()
        self._trials[trial.lease_id] = trial
        self._leases[trial.id] = trial.lease_id

    def keep_attrs(self, trial_id: int, attrs: Mapping[str, Any]) -> None:
        """The row of a trial has other `search_attrs` now."""
        trial = self._trials.get(self._leases.get(trial_id, ""))
        if trial is not None:
            self.keep_trial(replace(trial, search_attrs=dict(attrs)))

    def keep_study(self, study: Study | None) -> None:
        """What the row of a study is now."""
        if study is not None and self._most:
            self._studies[study.id] = study


_NOTHING = Known(most=0)


def known(connection: Connection) -> Known:
    """What is known on this connection."""
    found: Known = connection.info.get("known", _NOTHING)
    return found
