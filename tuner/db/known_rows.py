"""Rows that the writer need not read again: what it knows of trials under a lease, of their studies, and of workers.

A service is the only one that changes its database (decision 0005), and does so on one thread (0002). A statement that changes
one of these rows and returns it, or says all that it changes, keeps what is known up to date; any other change of their tables
makes all of it forgotten, and so does whatever undoes a transaction. Only the writer's connection knows anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from tuner.records import Study, Trial, Worker

_FILES = ("artifacts", "checkpoints")
_NOTHING_KNOWN_OF = ("metrics", "logs", "loose_files", "spaces", "priors", "tokens", "sessions", "audit", "idempotency")
_MOST = 5_000  # trials: those under a lease, and those that ended last


@dataclass
class OfStudy:
    """What is known of a study beside its row."""

    at_work: int | None = None  # how many of its trials run; None: that is not known
    none_waits: bool = False  # no trial of it waits that may start at once
    no_files: bool = False  # no trial of it has any
    unspent: dict[str, tuple[datetime, datetime]] = field(
        default_factory=dict
    )  # limit of hours → between which it can't be reached
    gainless: int | None = None  # at most so many of its trials have ended since the best one did; None: that is not known

    def one_started(self) -> None:
        """A trial has begun to run."""
        if self.at_work is not None:
            self.at_work += 1

    def one_ended(self) -> None:
        """A trial that ran has ended."""
        if self.at_work is not None:
            self.at_work -= 1
        if self.gainless is not None:
            self.gainless += 1


class Known:
    """Trials by lease, studies and workers by id, and which studies run."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._trials: dict[str, Trial] = {}
        self._leases: dict[int, str] = {}
        self._studies: dict[str, Study] = {}
        self._running: list[str] | None = None
        self._of_studies: dict[str, OfStudy] = {}
        self._workers: dict[str, Worker] = {}

    def clear(self) -> None:
        self._trials.clear()
        self._leases.clear()
        self._studies.clear()
        self._running = None
        self._of_studies.clear()
        self._workers.clear()

    def changed(self, table: str | None) -> None:
        """A statement that keeps nothing up to date has changed a table; None: who knows which."""
        if table in _FILES:
            for facts in self._of_studies.values():
                facts.no_files = False
        elif table not in _NOTHING_KNOWN_OF:
            self.clear()

    def trial(self, lease_id: str) -> Trial | None:
        return self._trials.get(lease_id)

    def study(self, study_id: str) -> Study | None:
        return self._studies.get(study_id)

    def running(self) -> list[Study] | None:
        """Every running study, in the order they were read in; None if that is not known."""
        return None if self._running is None else [self._studies[study_id] for study_id in self._running]

    def of_study(self, study_id: str) -> OfStudy:
        """To be read, and kept up to date."""
        return self._of_studies.setdefault(study_id, OfStudy()) if self._most else OfStudy()

    def worker(self, worker_id: str) -> Worker | None:
        return self._workers.get(worker_id)

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

    def keep_running(self, studies: Sequence[Study]) -> None:
        """These are all that run."""
        if self._most:
            self._studies |= {study.id: study for study in studies}
            self._running = [study.id for study in studies]

    def keep_worker(self, worker: Worker | None) -> None:
        """What the row of a worker is now."""
        if worker is not None and self._most:
            self._workers[worker.id] = worker


_NOTHING = Known(most=0)


def known(connection: Connection) -> Known:
    """What is known on this connection."""
    found: Known = connection.info.get("known", _NOTHING)
    return found
