"""Rows of `artifacts`: the files that a trial leaves behind, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import delete, insert, select

from tuner.db.engine import Connection
from tuner.db.tables import artifacts, trials
from tuner.records import Artifact


def put_artifact(connection: Connection, artifact: Artifact) -> list[str]:
    """Store or replace; returns the path of the file that is no longer needed, if there is one.

    That is the new one where a later upload of the same attempt is stored already: then this one was held up on its way.
    """
    of_name = (artifacts.c.trial_id == artifact.trial_id, artifacts.c.name == artifact.name)
    row = connection.execute(select(artifacts).where(*of_name)).mappings().one_or_none()
    before = None if row is None else Artifact(**row)
    if before is not None and artifact.is_behind(before):
        return [artifact.path]
    connection.execute(delete(artifacts).where(*of_name))
    connection.execute(insert(artifacts).values(asdict(artifact)))
    return [] if before is None else [before.path]


def artifacts_of(connection: Connection, trial_id: int) -> list[Artifact]:
    query = select(artifacts).where(artifacts.c.trial_id == trial_id).order_by(artifacts.c.name)
    return [Artifact(**row) for row in connection.execute(query).mappings()]


def remove_artifacts(connection: Connection, study_id: str, *, keep: Sequence[int], spare: Sequence[str]) -> dict[str, int]:
    """Forget the artifacts of finished trials but those with the ids `keep`, and those named `spare`; returns their files
    with their sizes."""
    finished = select(trials.c.id).where(
        trials.c.study_id == study_id, trials.c.finished_at.is_not(None), trials.c.id.not_in(keep)
    )
    gone = delete(artifacts).where(artifacts.c.trial_id.in_(finished), artifacts.c.name.not_in(spare))
    return {path: size for path, size in connection.execute(gone.returning(artifacts.c.path, artifacts.c.size))}
