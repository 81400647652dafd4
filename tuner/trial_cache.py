"""All trials of a study for those who look at all of them often: figures. Only what may have changed is read again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tuner.db import trial_rows
from tuner.db.engine import Connection
from tuner.records import Trial

MOST_STUDIES = 4
# A worker may tell more of a trial after it has ended: a trial that ended so long ago changes only by being extended.
SETTLED_AFTER = timedelta(minutes=10)


@dataclass
class _Known:
    lock: threading.Lock = field(default_factory=threading.Lock)  # several figures are asked for at once
    by_number: dict[int, Trial] = field(default_factory=dict)
    read_at: datetime | None = None


class TrialCache:
    """The trials of the studies looked at last."""

    def __init__(self) -> None:
        self._studies: OrderedDict[str, _Known] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, study_id: str) -> bool:
        return study_id in self._studies

    def trials_of(self, connection: Connection, study_id: str, *, now: datetime) -> Sequence[Trial]:
        """All of a study, by number; as `trial_rows.trials_of`."""
        known = self._known(study_id)
        with known.lock:
            if known.read_at is None:
                news = trial_rows.trials_of(connection, study_id)
            else:
                open_ = [number for number, trial in known.by_number.items() if not trial.finished]
                since = known.read_at - SETTLED_AFTER
                news = trial_rows.changed_trials(connection, study_id, since=since, first=len(known.by_number), numbers=open_)
            known.read_at = now
            known.by_number.update((trial.number, trial) for trial in news)
            return list(known.by_number.values())

    def _known(self, study_id: str) -> _Known:
        with self._lock:
            known = self._studies.setdefault(study_id, _Known())
            self._studies.move_to_end(study_id)
            while len(self._studies) > MOST_STUDIES:
                self._studies.popitem(last=False)
            return known
