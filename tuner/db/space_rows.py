"""Rows of `spaces` and `priors`: what a study has searched so far, and what earlier studies told its sampler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update

from tuner.db.engine import Connection
from tuner.db.tables import priors, spaces, studies
from tuner.records import Prior, SpaceVersion

_PRIOR = ("params", "value", "source", "good")


def insert_space(
    connection: Connection,
    study_id: str,
    version: int,
    *,
    parameters: Mapping[str, Any],
    constraints: Sequence[str],
    now: datetime,
) -> None:
    """A new version of the study's space, which trials are drawn under from now on."""
    connection.execute(
        insert(spaces).values(
            study_id=study_id, version=version, parameters=dict(parameters), constraints=list(constraints), created_at=now
        )
    )
    connection.execute(update(studies).where(studies.c.id == study_id).values(space_version=version))


def spaces_of(connection: Connection, study_id: str) -> list[SpaceVersion]:
    """Every version, oldest first."""
    query = select(spaces).where(spaces.c.study_id == study_id).order_by(spaces.c.version)
    return [
        SpaceVersion(
            version=row["version"],
            parameters=row["parameters"],
            constraints=tuple(row["constraints"]),
            created_at=row["created_at"],
        )
        for row in connection.execute(query).mappings()
    ]


def insert_priors(connection: Connection, study_id: str, found: Sequence[Prior]) -> None:
    rows = [
        {"study_id": study_id, "position": position} | {name: getattr(prior, name) for name in _PRIOR}
        for position, prior in enumerate(found)
    ]
    if rows:
        connection.execute(insert(priors), rows)


def priors_of(connection: Connection, study_id: str) -> list[Prior]:
    query = select(priors).where(priors.c.study_id == study_id).order_by(priors.c.position)
    return [Prior(**{name: row[name] for name in _PRIOR}) for row in connection.execute(query).mappings()]
