"""Rows of `checkpoints`: the newest point from which a trial can be taken up again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import bindparam, delete, insert, select

from tuner.db.engine import Connection
from tuner.db.prepared import Prepared
from tuner.db.tables import checkpoints, trials
from tuner.records import StoredCheckpoint

_OF_TRIAL = Prepared(select(checkpoints).where(checkpoints.c.trial_id == bindparam("trial")))


def put_checkpoint(connection: Connection, checkpoint: StoredCheckpoint) -> list[str]:
    """Store in place of the one before; returns the path of the file that is no longer needed, if there is one.

    That is the new one where a later point is stored already: then this one was held up on its way, or came twice.
    """
    newest = checkpoint_of(connection, checkpoint.trial_id)
    if newest is not None and newest.step > checkpoint.step:
        return [checkpoint.path]
    replaced = forget_checkpoint(connection, checkpoint.trial_id)
    connection.execute(insert(checkpoints).values(asdict(checkpoint)))
    return replaced


def checkpoint_of(connection: Connection, trial_id: int) -> StoredCheckpoint | None:
    row = _OF_TRIAL.first(connection, {"trial": trial_id})
    return None if row is None else StoredCheckpoint(**row)


def forget_checkpoint(connection: Connection, trial_id: int) -> list[str]:
    """Returns the path of its file, if there was one."""
    gone = delete(checkpoints).where(checkpoints.c.trial_id == trial_id)
    return list(connection.execute(gone.returning(checkpoints.c.path)).scalars())


def remove_checkpoints(connection: Connection, study_id: str, *, keep: Sequence[int]) -> dict[str, int]:
    """Forget those of finished trials but those with the ids `keep`; returns path and size of their files."""
    finished = select(trials.c.id).where(
        trials.c.study_id == study_id, trials.c.finished_at.is_not(None), trials.c.id.not_in(keep)
    )
    gone = delete(checkpoints).where(checkpoints.c.trial_id.in_(finished))
    return {path: size for path, size in connection.execute(gone.returning(checkpoints.c.path, checkpoints.c.size))}
