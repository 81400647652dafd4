"""Which files there are: those of a study, and rows of `loose_files`, which belong to nothing.

A file that arrives is loose before its first byte, one that is no longer needed from the removal of the row that named it. So
whatever dies, there is no file that no row names.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy import bindparam, delete, exists, insert, or_, select, union_all, update

from tuner.db.engine import Connection
from tuner.db.known_rows import known
from tuner.db.prepared import Prepared
from tuner.db.tables import artifacts, checkpoints, loose_files, trials

_CONDEMNED = datetime(1970, 1, 1, tzinfo=UTC)  # in `since`, of one that is being removed
_KINDS = (artifacts, checkpoints)
_FOUND = [exists().where(trials.c.study_id == bindparam("study"), trials.c.id == kind.c.trial_id) for kind in _KINDS]
_HAS_FILES = Prepared(select(or_(*_FOUND).label("found")))


def has_files(connection: Connection, study_id: str) -> bool:
    """Whether any trial of the study has an artifact or a checkpoint."""
    facts = known(connection).of_study(study_id)
    if not facts.no_files:
        facts.no_files = not _HAS_FILES.all(connection, {"study": study_id})[0]["found"]
    return not facts.no_files


def paths_of_study(connection: Connection, study_id: str) -> list[str]:
    """Of its artifacts and checkpoints."""
    of_kind = [select(kind.c.path).join(trials, trials.c.id == kind.c.trial_id) for kind in _KINDS]
    query = union_all(*(paths.where(trials.c.study_id == study_id) for paths in of_kind))
    return list(connection.execute(query).scalars())


def add_loose(connection: Connection, paths: Iterable[str], *, now: datetime) -> None:
    rows = [{"path": path, "since": now} for path in paths]
    if rows:
        connection.execute(insert(loose_files), rows)


def take_loose(connection: Connection, path: str) -> bool:
    """It belongs to something now; False if it is no loose file, or one that is being removed."""
    mine = delete(loose_files).where(loose_files.c.path == path, loose_files.c.since > _CONDEMNED)
    return connection.execute(mine).rowcount > 0


def any_loose(connection: Connection, before: datetime) -> bool:
    """Whether a file has been loose since before then."""
    return connection.execute(select(loose_files.c.path).where(loose_files.c.since < before).limit(1)).first() is not None


def condemn_loose(connection: Connection, before: datetime) -> list[str]:
    """Those that have been loose since before then, which nothing may take any more."""
    old = update(loose_files).where(loose_files.c.since < before).values(since=_CONDEMNED)
    return list(connection.execute(old.returning(loose_files.c.path)).scalars())


def forget_loose(connection: Connection, paths: Iterable[str]) -> None:
    """They are gone."""
    connection.execute(delete(loose_files).where(loose_files.c.path.in_(list(paths))))
