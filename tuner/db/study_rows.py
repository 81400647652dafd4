"""Rows of `studies`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    Text,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from tuner.db.engine import Connection
from tuner.db.known_rows import known
from tuner.db.posted import posted
from tuner.db.prepared import Prepared
from tuner.db.tables import idempotency, studies, trials
from tuner.records import LIVE_STUDY_STATES, TRIAL_STATES, Facts, Study, StudyState
from tuner.spec import StudySpec

# The spec is read as text, so that one that was read before is known again.
_COLUMNS = [column if column is not studies.c.spec else cast(column, Text).label("spec") for column in studies.c]
_BY_ID = Prepared(select(*_COLUMNS).where(studies.c.id == bindparam("study")))
_RUNNING = Prepared(select(*_COLUMNS).where(studies.c.state == "running").order_by(studies.c.created_at))
_N_RUNNING = select(func.count()).where(trials.c.study_id == bindparam("study"), trials.c.state == "running").scalar_subquery()
_AT_WORK = Prepared(select(_N_RUNNING.label("count")))
_CLAIMED = (
    update(studies)
    .where(studies.c.id == bindparam("study"), studies.c.state == "running", _N_RUNNING < studies.c.parallelism)
    .where(or_(studies.c.max_trials.is_(None), studies.c.n_created < studies.c.max_trials), studies.c.reopened_from.is_(None))
    .values(n_created=studies.c.n_created + 1)
)
_CLAIM = Prepared(_CLAIMED.returning(studies.c.n_created))
_CLAIM_NEXT = Prepared(_CLAIMED.where(studies.c.n_created == bindparam("created")))


def insert_study(connection: Connection, study: Study) -> None:
    connection.execute(
        insert(studies).values(
            id=study.id,
            name=study.name,
            live_name=study.name,
            state=study.state,
            reason=study.reason,
            spec=study.spec.model_dump(mode="json"),
            facts=_facts_row(study.facts),
            n_created=study.n_created,
            max_trials=study.spec.budget.trials,
            parallelism=study.spec.parallelism,
            version=study.version,
            search_attrs=dict(study.search_attrs),
            created_at=study.created_at,
            updated_at=study.updated_at,
        )
    )


def get_study(connection: Connection, study_id: str) -> Study | None:
    study = known(connection).study(study_id)
    if study is None:
        row = _BY_ID.first(connection, {"study": study_id})
        study = None if row is None else _study(row)
        known(connection).keep_study(study)
    return study


def find_study(connection: Connection, id_or_name: str) -> Study | None:
    """By id, else the newest of that name."""
    found = get_study(connection, id_or_name)
    if found is not None:
        return found
    query = select(*_COLUMNS).where(studies.c.name == id_or_name).order_by(studies.c.created_at.desc()).limit(1)
    row = connection.execute(query).mappings().first()
    return None if row is None else _study(row)


def live_study_named(connection: Connection, name: str) -> Study | None:
    row = connection.execute(select(*_COLUMNS).where(studies.c.live_name == name)).mappings().first()
    return None if row is None else _study(row)


def list_studies(
    connection: Connection,
    *,
    states: Sequence[str] = (),
    text: str | None = None,
    tag: tuple[str, str | None] | None = None,
    before: tuple[datetime, str] | None = None,
    limit: int = 100,
) -> tuple[list[Study], int]:
    """Newest first, and how many there are in all; `before` is the (created_at, id) of the last one seen."""
    query = select(*_COLUMNS)
    if states:
        query = query.where(studies.c.state.in_(states))
    if text:
        query = query.where(studies.c.name.icontains(text, autoescape=True))
    if tag is not None:
        query = query.where(_has_tag(connection, *tag))
    total = connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()
    if before is not None:
        older = and_(studies.c.created_at == before[0], studies.c.id < before[1])
        query = query.where(or_(studies.c.created_at < before[0], older))
    rows = connection.execute(query.order_by(studies.c.created_at.desc(), studies.c.id.desc()).limit(limit)).mappings()
    return [_study(row) for row in rows], total


def _has_tag(connection: Connection, name: str, value: str | None) -> ColumnElement[bool]:
    # A path such as spec["tags"][name] would not do: SQLite finds no name in it that JSON writes with a backslash.
    each = func.json_each_text if connection.dialect.name == "postgresql" else func.json_each
    tags = each(studies.c.spec["tags"]).table_valued("key", "value")
    found = select(tags.c.key).where(tags.c.key == name).correlate(studies)
    return exists(found if value is None else found.where(tags.c.value == value))


def running_studies(connection: Connection, study_ids: Sequence[str] | None = None) -> list[Study]:
    """Those that may hand out trials, oldest first."""
    if study_ids is None:
        everything = known(connection).running()
        if everything is None:
            everything = [_study(row) for row in _RUNNING.all(connection, {})]
            known(connection).keep_running(everything)
        return everything
    named = [get_study(connection, study_id) for study_id in set(study_ids)]
    running = [study for study in named if study is not None and study.state == "running"]
    return sorted(running, key=lambda study: study.created_at)


def claim_number(connection: Connection, study_id: str) -> int | None:
    """The number of a new trial, or None if budget, parallelism or the study's state allow none.

    One conditional statement: whatever the number of workers, the budget is never exceeded and numbers have no holes.
    """
    study = known(connection).study(study_id)
    if study is not None and posted(connection) is not None and _has_room(connection, study):
        _CLAIM_NEXT.hits(connection, {"study": study_id, "created": study.n_created})
        number = study.n_created
    else:
        claimed = _CLAIM.first(connection, {"study": study_id})
        if claimed is None:
            return None
        number = claimed["n_created"] - 1
    if study is not None:
        known(connection).keep_study(replace(study, n_created=number + 1))
    return number


def _has_room(connection: Connection, study: Study) -> bool:
    """Whether a number of the study can be claimed, by what is known."""
    facts = known(connection).of_study(study.id)
    if facts.at_work is None:
        facts.at_work = int(_AT_WORK.all(connection, {"study": study.id})[0]["count"])
    budget = study.spec.budget.trials
    within_budget = budget is None or study.n_created < budget
    return study.state == "running" and study.reopened_from is None and within_budget and facts.at_work < study.spec.parallelism


def startable(connection: Connection, study: Study) -> int:
    """How many trials of the study, which runs, could begin now if workers had room for them."""
    return _startable(study, _unfinished(connection, study.id))


def demand(connection: Connection) -> list[tuple[Study, int]]:
    """Every running study, and how many of its trials run or could begin now."""
    found = []
    for study in running_studies(connection):
        unfinished = _unfinished(connection, study.id)
        # Those that were set aside are promoted when a worker asks.
        least = 1 if unfinished["set aside"] else 0
        found.append((study, max(least, unfinished["running"] + _startable(study, unfinished))))
    return found


def _unfinished(connection: Connection, study_id: str) -> Counter[str]:
    of_study = and_(trials.c.study_id == study_id, trials.c.state.in_(("waiting", "running")))
    aside = and_(trials.c.state == "waiting", trials.c.set_aside_at.is_not(None))
    rows = connection.execute(select(case((aside, "set aside"), else_=trials.c.state)).where(of_study)).scalars()
    return Counter(rows)


def _startable(study: Study, unfinished: Counter[str]) -> int:
    budget = study.spec.budget.trials
    undrawn = study.spec.parallelism if budget is None else max(0, budget - study.n_created)
    waiting = unfinished["waiting"] + (0 if study.reopened_from else undrawn)
    return max(0, min(study.spec.parallelism - unfinished["running"], waiting))


def claim_enqueued_number(connection: Connection, study_id: str) -> int | None:
    """As `claim_number` for a trial that waits first, so that parallelism does not matter yet."""
    claimed = connection.execute(
        update(studies)
        .where(studies.c.id == study_id, studies.c.state.in_(LIVE_STUDY_STATES))
        .where(or_(studies.c.max_trials.is_(None), studies.c.n_created < studies.c.max_trials))
        .values(n_created=studies.c.n_created + 1)
        .returning(studies.c.n_created)
    ).scalar_one_or_none()
    return None if claimed is None else claimed - 1


def set_state(
    connection: Connection,
    study_id: str,
    state: StudyState,
    *,
    allowed_from: Sequence[StudyState],
    reason: str | None,
    now: datetime,
) -> bool:
    """Change the state if it is one of `allowed_from`; whether it was."""
    live = state in LIVE_STUDY_STATES
    changed = connection.execute(
        update(studies)
        .where(studies.c.id == study_id, studies.c.state.in_(allowed_from))
        .values(
            state=state,
            reason=reason,
            live_name=studies.c.name if live else None,
            version=studies.c.version + 1,
            updated_at=now,
            finished_at=None if live else now,
            **({} if live else {"reopened_from": None, "reopened_reason": None}),
        )
    )
    return changed.rowcount == 1


def reopen(connection: Connection, study_id: str, *, for_one_trial: bool, now: datetime) -> None:
    """Let a study that is over run again: until its budget is used up, or just until its unfinished trials have ended."""
    connection.execute(
        update(studies)
        .where(studies.c.id == study_id, studies.c.state.not_in(LIVE_STUDY_STATES))
        .values(
            state="running",
            reason=None,
            live_name=studies.c.name,
            version=studies.c.version + 1,
            updated_at=now,
            finished_at=None,
            reopened_from=studies.c.state if for_one_trial else None,
            reopened_reason=studies.c.reason if for_one_trial else None,
        )
    )


def draw_again(connection: Connection, study_id: str) -> None:
    """A study that ran for extended trials only goes on with its search."""
    connection.execute(update(studies).where(studies.c.id == study_id).values(reopened_from=None, reopened_reason=None))


def set_spec(connection: Connection, study_id: str, spec: StudySpec, *, version: int, now: datetime) -> bool:
    """Replace the spec if the study still has `version`; whether it had."""
    changed = connection.execute(
        update(studies)
        .where(studies.c.id == study_id, studies.c.version == version)
        .values(
            spec=spec.model_dump(mode="json"),
            max_trials=spec.budget.trials,
            parallelism=spec.parallelism,
            version=version + 1,
            updated_at=now,
        )
    )
    return changed.rowcount == 1


def set_created(connection: Connection, study_id: str, n_created: int) -> None:
    """How many trials an imported study came with."""
    connection.execute(update(studies).where(studies.c.id == study_id).values(n_created=n_created))


def add_freed(connection: Connection, study_id: str, size: int) -> None:
    """So many bytes of its files are gone; no change that a client would see at once."""
    connection.execute(update(studies).where(studies.c.id == study_id).values(freed_bytes=studies.c.freed_bytes + size))


def set_search_attrs(connection: Connection, study_id: str, attrs: Mapping[str, Any]) -> None:
    """Keep what the sampler remembers about the whole study; no change that a client would see."""
    connection.execute(update(studies).where(studies.c.id == study_id).values(search_attrs=dict(attrs)))


def delete_study(connection: Connection, study_id: str) -> bool:
    """Delete one that is not running, with all that belongs to it; whether there was one."""
    deleted = connection.execute(delete(studies).where(studies.c.id == study_id, studies.c.state != "running"))
    if deleted.rowcount == 0:
        return False
    connection.execute(delete(idempotency).where(idempotency.c.study_id == study_id))
    return True


def counts(connection: Connection, study_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """study id → trial state → how many; every state is named."""
    query = (
        select(trials.c.study_id, trials.c.state, func.count())
        .where(trials.c.study_id.in_(study_ids))
        .group_by(trials.c.study_id, trials.c.state)
    )
    found: dict[str, dict[str, int]] = {study_id: {state: 0 for state in TRIAL_STATES} for study_id in study_ids}
    for study_id, state, count in connection.execute(query):
        found[study_id][state] = count
    return found


def remember_request(connection: Connection, *, key: str, body_hash: str, study_id: str, now: datetime) -> None:
    connection.execute(insert(idempotency).values(key=key, body_hash=body_hash, study_id=study_id, created_at=now))


def remembered_request(connection: Connection, key: str) -> tuple[str, str] | None:
    """(hash of the body, id of the study it made) of an earlier request with that key."""
    row = connection.execute(select(idempotency.c.body_hash, idempotency.c.study_id).where(idempotency.c.key == key)).first()
    return None if row is None else (row.body_hash, row.study_id)


def _facts_row(facts: Facts) -> dict[str, Any]:
    return {
        "blocks": facts.blocks,
        "trained_parameters": list(facts.trained_parameters),
        "train_rows": facts.train_rows,
        "validation_rows": facts.validation_rows,
        "test_rows": facts.test_rows,
        "fingerprint": facts.fingerprint,
        "classes": list(facts.classes),
        "baseline": dict(facts.baseline),
    }


@lru_cache(maxsize=1000)
def _spec(text: str) -> StudySpec:
    return StudySpec.model_validate_json(text)


def _study(row: Mapping[str, Any] | RowMapping) -> Study:
    facts = row["facts"]
    return Study(
        id=row["id"],
        name=row["name"],
        state=row["state"],
        reason=row["reason"],
        spec=_spec(row["spec"]),
        facts=Facts(**(facts | {name: tuple(facts.get(name, ())) for name in ("classes", "trained_parameters")})),
        n_created=row["n_created"],
        version=row["version"],
        search_attrs=row["search_attrs"],
        freed_bytes=row["freed_bytes"],
        space_version=row["space_version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        finished_at=row["finished_at"],
        reopened_from=row["reopened_from"],
        reopened_reason=row["reopened_reason"],
    )
