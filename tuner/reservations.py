"""Whose turn it is on a worker: a trial of several GPUs gets its turn although small ones keep coming.

Workers say how many GPUs they have free, and are given what fits. A study whose trials want more than that is passed over,
and once it has been for long enough one worker is kept for it: that worker gets nothing smaller until enough is free.
All of it is in memory only: after a restart those who wait do so once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tuner.db.engine import Connection
from tuner.db.study_rows import startable
from tuner.records import Study, Worker
from tuner.spec import gpus_of_trial


@dataclass
class _Keeper:
    worker_id: str
    heard: datetime  # when it last asked for work


class Reservations:
    """Which studies wait for several GPUs at once, since when, and which worker is kept for each."""

    def __init__(self, *, patience: timedelta, silence: timedelta) -> None:
        """A worker is kept for who has waited for `patience`, unless that worker says nothing for `silence`."""
        self.patience, self.silence = patience, silence
        self._since: dict[str, datetime] = {}
        self._kept: dict[str, _Keeper] = {}

    def order(
        self,
        connection: Connection,
        studies: Sequence[Study],
        worker: Worker,
        free: int | None,
        *,
        all_of_them: bool,
        now: datetime,
    ) -> list[Study]:
        """Those of `studies` whose trials the worker may be given just now, those whose turn it is first.

        `free`: of its GPUs; None: all. `all_of_them`: else others than `studies` may wait for the worker too.
        """
        there = usable_gpus(worker)
        free = there if free is None else min(free, there)
        possible = [study for study in studies if gpus_of_trial(study.spec, there) <= there]
        fitting = [study for study in possible if gpus_of_trial(study.spec, there) <= free]
        big = [study for study in possible if gpus_of_trial(study.spec, there) > 1 and startable(connection, study) > 0]
        kept = self._kept_for(worker.id, big, all_of_them, now) or self._keep(worker.id, big, now)
        if kept is None:
            return fitting
        if not any(study.id == kept for study in fitting):
            return []
        self.granted(kept)  # whatever comes of it, or the worker would be kept for a study that has nothing to give after all
        return sorted(fitting, key=lambda study: study.id != kept)

    def keeps(self, worker_id: str) -> bool:
        """Whether the worker is kept for a study: it need not wait for anything but room of its own."""
        return any(keeper.worker_id == worker_id for keeper in list(self._kept.values()))

    def granted(self, study_id: str) -> None:
        """It was the study's turn: its next trial waits from now on."""
        self._since.pop(study_id, None)
        self._kept.pop(study_id, None)

    def _kept_for(self, worker_id: str, big: Sequence[Study], all_of_them: bool, now: datetime) -> str | None:
        """Which study the worker is kept for, as far as that still has trials to start."""
        for study_id, keeper in list(self._kept.items()):
            if keeper.worker_id == worker_id:
                keeper.heard = now
                if not all_of_them or any(study.id == study_id for study in big):
                    return study_id
                self.granted(study_id)
        return None

    def _keep(self, worker_id: str, big: Sequence[Study], now: datetime) -> str | None:
        """Keep the worker for the study that has waited longest, if any has for too long and no other worker is kept for it."""
        for study in big:
            self._since.setdefault(study.id, now)
        waiting = [
            study.id for study in big if now - self._since[study.id] >= self.patience and not self._has_keeper(study.id, now)
        ]
        if not waiting:
            return None
        longest = min(waiting, key=lambda study_id: self._since[study_id])
        self._kept[longest] = _Keeper(worker_id, now)
        return longest

    def _has_keeper(self, study_id: str, now: datetime) -> bool:
        keeper = self._kept.get(study_id)
        return keeper is not None and now - keeper.heard < self.silence


def usable_gpus(worker: Worker) -> int:
    """Those that have not vanished."""
    return sum("set_aside" not in gpu for gpu in worker.gpus)
