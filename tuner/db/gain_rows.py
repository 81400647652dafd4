"""How long a study has gone without a better trial, counted by the database: of a long study that is too many rows to read."""

from __future__ import annotations

from sqlalchemy import and_, func, or_, select

from tuner.db.engine import Connection
from tuner.db.tables import trials
from tuner.db.trial_rows import trials_of

_ENDED_AT = func.coalesce(trials.c.finished_at, trials.c.set_aside_at)  # one set aside has brought no gain so far


def ended_since_best(connection: Connection, study_id: str, *, maximize: bool) -> int:
    """How many trials have ended since the best one did, of equally good ones the first; 0 if none has completed.

    One that is being extended counts as it had ended.
    """
    ended = (trials.c.study_id == study_id, trials.c.ended_state.is_(None), _ENDED_AT.is_not(None))
    value = trials.c.value.desc() if maximize else trials.c.value.asc()
    best = select(trials.c.value, _ENDED_AT, trials.c.number).where(*ended, trials.c.state == "completed")
    best = best.where(trials.c.value.is_not(None)).order_by(value, _ENDED_AT, trials.c.number).limit(1)
    unfinished = trials_of(connection, study_id, ("waiting", "running"))
    extended = [trial.as_ended for trial in unfinished if trial.as_ended is not trial]
    completed = [(row[0], (row[1], row[2])) for row in connection.execute(best)]
    completed += [(t.value, (t.finished_at, t.number)) for t in extended if t.state == "completed" and t.value is not None]
    if not completed:
        return 0
    _, (at, number) = min(completed, key=lambda found: (-found[0] if maximize else found[0], found[1]))
    later = or_(at < _ENDED_AT, and_(at == _ENDED_AT, number < trials.c.number))
    counted: int = connection.execute(select(func.count()).where(*ended, later)).scalar_one()
    return counted + sum((trial.finished_at, trial.number) > (at, number) for trial in extended)
