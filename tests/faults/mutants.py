"""The product with one bug each, as a hurried change might bring it: what the checker must catch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text, update

from tests.faults.script import FATES
from tests.faults.simulation import Faults
from tuner.db import checkpoint_rows, engine, file_rows, lease_rows, metric_rows, study_rows, tables, trial_rows
from tuner.errors import Unavailable
from tuner.leadership import Leadership
from tuner.ledger import Change
from tuner.manager import Manager

Patch = Callable[[pytest.MonkeyPatch], None]


def no_lease_test(patch: pytest.MonkeyPatch) -> None:
    """Any lease that a trial ever had may write to it: no fencing in the WHERE clauses."""

    def of_any_lease(lease_id: str) -> Any:
        return select(tables.leases.c.trial_id).where(tables.leases.c.id == lease_id).scalar_subquery()

    def trial_of_lease(connection: Any, lease_id: str) -> Any:
        number = select(tables.trials.c.study_id, tables.trials.c.number).where(tables.trials.c.id == of_any_lease(lease_id))
        found = connection.execute(number).first()
        return None if found is None else trial_rows.get_trial(connection, *found)

    def held_by(lease_id: str) -> Any:
        return update(tables.trials).where(tables.trials.c.id == of_any_lease(lease_id), tables.trials.c.state == "running")

    patch.setattr(trial_rows, "trial_of_lease", trial_of_lease)
    patch.setattr(trial_rows, "_held_by", held_by)
    patch.setattr(lease_rows, "extend_lease", lambda *_, **__: True)


def uploads_without_a_lease_test(patch: pytest.MonkeyPatch) -> None:
    """A checkpoint is looked at only before its body is read, and by a lease that the trial had once."""

    def holder(self: Manager, lease_id: str) -> Any:
        with self.ledger.read() as connection:
            once = select(tables.leases.c.trial_id).where(tables.leases.c.id == lease_id).scalar_subquery()
            query = select(tables.trials.c.study_id, tables.trials.c.number).where(tables.trials.c.id == once)
            found = trial_rows.get_trial(connection, *connection.execute(query).one())
        assert found is not None
        return found

    patch.setattr(Manager, "holder", holder)
    patch.setattr(metric_rows, "lease_is_current", lambda *_: True)


def budget_read_beforehand(patch: pytest.MonkeyPatch) -> None:
    """The budget is compared with what another connection saw, not in the statement that takes a number."""

    def claim_number(connection: Any, study_id: str) -> int | None:
        with connection.engine.connect() as beforehand:
            study = beforehand.execute(select(tables.studies).where(tables.studies.c.id == study_id)).mappings().one()
        if study["max_trials"] is not None and study["n_created"] >= study["max_trials"]:
            return None
        one_more = update(tables.studies).where(tables.studies.c.id == study_id).values(n_created=tables.studies.c.n_created + 1)
        claimed: int = connection.execute(one_more.returning(tables.studies.c.n_created)).scalar_one()
        return claimed - 1

    patch.setattr(study_rows, "claim_number", claim_number)


def answer_before_commit(patch: pytest.MonkeyPatch) -> None:
    """A call is answered with what its work returned, whether or not the commit that follows succeeds."""
    begin = engine.Database.begin

    def hasty(self: engine.Database, work: Callable[[Any], Any]) -> Future[Any]:
        returned: list[Any] = []

        def remembered(connection: Any) -> Any:
            returned.append(work(connection))
            return returned[-1]

        def tell(done: Future[Any]) -> None:
            problem = done.exception()
            if problem is None:
                answer.set_result(done.result())
            elif isinstance(problem, Unavailable) and returned:
                answer.set_result(returned[-1])
            else:
                answer.set_exception(problem)

        answer: Future[Any] = Future()
        begin(self, remembered).add_done_callback(tell)
        return answer

    patch.setattr(engine.Database, "begin", hasty)


def no_dedup(patch: pytest.MonkeyPatch) -> None:
    """A batch that comes twice is stored twice: the table has no key and the statement asks for none."""

    def insert_metrics(connection: Any, *, trial_id: int, attempt: int, points: Any, now: datetime) -> list[Any]:
        inside = "sqlite" if connection.dialect.name == "sqlite" else "postgresql"
        _drop_key[inside](connection)
        shared = {"trial_id": trial_id, "attempt": attempt, "reported_at": now, "superseded": False}
        for p in points:
            one = {"split": p.split, "name": p.name, "step": p.step, "epoch": p.epoch, "value": p.value}
            connection.execute(insert(tables.metrics).values(shared | one))
        return list(points)

    patch.setattr(metric_rows, "insert_metrics", insert_metrics)


def _drop_key_of_sqlite(connection: Any) -> None:
    if "PRIMARY KEY" in connection.execute(text("SELECT sql FROM sqlite_master WHERE name = 'metrics'")).scalar_one():
        for statement in (
            "CREATE TABLE keyless AS SELECT * FROM metrics",
            "DROP TABLE metrics",
            "ALTER TABLE keyless RENAME TO metrics",
        ):
            connection.execute(text(statement))


def _drop_key_of_postgresql(connection: Any) -> None:
    connection.execute(text("ALTER TABLE metrics DROP CONSTRAINT IF EXISTS pk_metrics"))


_drop_key: Mapping[str, Callable[[Any], None]] = {"sqlite": _drop_key_of_sqlite, "postgresql": _drop_key_of_postgresql}


def expired_in_two_commits(patch: pytest.MonkeyPatch) -> None:
    """The lease is ended in one transaction and its trial put back in the next: a crash between them loses the trial."""

    def expire(self: Manager, *, now: datetime) -> int:
        def end(change: Change) -> list[Any]:
            expired = lease_rows.expired_leases(change.connection, now=now)
            for lease in expired:
                lease_rows.end_lease(change.connection, lease.id, outcome="lost", message=None, now=now)
            return expired

        expired = self.ledger.change(end)
        for lease in expired:
            self.ledger.change(partial(_put_back, lease_id=lease.id, now=now))
        return len(expired)

    patch.setattr(Manager, "expire", expire)


def _put_back(change: Change, *, lease_id: str, now: datetime) -> None:
    trial = trial_rows.trial_of_lease(change.connection, lease_id)
    study = None if trial is None else study_rows.get_study(change.connection, trial.study_id)
    if trial is not None and study is not None and trial.retries < study.spec.retries:
        trial_rows.put_back(change.connection, lease_id, lost=True, now=now)
    else:
        trial_rows.end_trial(change.connection, lease_id, "failed", now=now)


def numbers_by_maximum(patch: pytest.MonkeyPatch) -> None:
    """A trial's number is the largest one that another connection saw, plus one."""
    claim = study_rows.claim_number

    def claim_number(connection: Any, study_id: str) -> int | None:
        with connection.engine.connect() as beforehand:
            query = select(func.coalesce(func.max(tables.trials.c.number), -1)).where(tables.trials.c.study_id == study_id)
            highest: int = beforehand.execute(query).scalar_one()
        return None if claim(connection, study_id) is None else highest + 1

    patch.setattr(study_rows, "claim_number", claim_number)


def replay_without_search_attrs(patch: pytest.MonkeyPatch) -> None:
    """A search rebuilt from rows forgets what the pruner had noted on each trial."""
    patch.setattr(trial_rows, "set_search_attrs", lambda *_: None)


def commit_failed_but_memory_stays(patch: pytest.MonkeyPatch) -> None:
    """After a commit that failed the search goes on with what was undone."""
    init = engine.Database.__init__

    def deaf(self: engine.Database, *arguments: Any, **named: Any) -> None:
        init(self, *arguments, **named)

    patch.setattr(engine.Database, "__init__", deaf)
    patch.setattr(engine.Database, "on_rollback", property(lambda _: lambda: None, lambda _, __: None), raising=False)


def checkpoint_forgotten(patch: pytest.MonkeyPatch) -> None:
    """An upload is acknowledged, and its row is not written every second time."""
    put, times = checkpoint_rows.put_checkpoint, iter(range(10**9))
    patch.setattr(checkpoint_rows, "put_checkpoint", lambda *arguments: put(*arguments) if next(times) % 2 == 0 else [])


def files_without_a_row(patch: pytest.MonkeyPatch) -> None:
    """A file has no row until it belongs to a trial, and none from when it does no longer."""
    patch.setattr(file_rows, "add_loose", lambda *_, **__: None)
    patch.setattr(file_rows, "take_loose", lambda *_: True)


def no_set_aside(patch: pytest.MonkeyPatch) -> None:
    """What a lost attempt reported after its last checkpoint goes on to count."""
    patch.setattr(metric_rows, "supersede_metrics", lambda *_, **__: None)


def lease_taken_back_early(patch: pytest.MonkeyPatch) -> None:
    """The timer compares with the wrong end: leases are taken back while they live."""
    expired = lease_rows.expired_leases

    def too_many(connection: Any, *, now: datetime, limit: int = 1000) -> Any:
        return expired(connection, now=now.replace(year=now.year + 1), limit=limit)

    patch.setattr(lease_rows, "expired_leases", too_many)


def deposed_and_writing(patch: pytest.MonkeyPatch) -> None:
    """A service does not look whether another one has taken its database over."""
    patch.setattr(Leadership, "confirm", lambda *_: None)


def finish_counts_again(patch: pytest.MonkeyPatch) -> None:
    """A finish said again after its answer was lost is refused as if it came from a stranger."""
    patch.setattr(Manager, "_repeated_finish", lambda *_: None)


def asked_again_given_another(patch: pytest.MonkeyPatch) -> None:
    """A worker whose lease got lost on its way is given a second one, and the first trial waits for nobody."""
    made = iter(range(10**9))
    patch.setattr(lease_rows, "new_lease_id", lambda *_: f"lease{next(made)}")


@dataclass(frozen=True)
class Caught:
    """The promises of which at least one must be reported as broken, and a mixture of faults that soon leads there."""

    promises: tuple[str, ...]
    faults: Faults = field(default_factory=Faults)
    fates: Mapping[str, int] = field(default_factory=lambda: FATES)


_ASLEEP = Faults(worker_sleeps=60, late_again=150)
_CROWDED = Faults(side_by_side=800)
_BREAKING = Faults(commit_fails=300, worker_sleeps=60)

MUTANTS: Mapping[Patch, Caught] = {
    no_lease_test: Caught(("I2",), _ASLEEP),
    uploads_without_a_lease_test: Caught(("I2",), _ASLEEP),
    budget_read_beforehand: Caught(("I4",), _CROWDED, {"nan": 100}),
    answer_before_commit: Caught(("I1",), _BREAKING),
    no_dedup: Caught(("I1",)),
    expired_in_two_commits: Caught(("I2", "I5"), _BREAKING),
    numbers_by_maximum: Caught(("I1", "I3"), _CROWDED),
    replay_without_search_attrs: Caught(("I6",)),
    commit_failed_but_memory_stays: Caught(("I1", "I6"), Faults(commit_fails=500)),
    checkpoint_forgotten: Caught(("I1",), Faults(worker_dies=40)),
    files_without_a_row: Caught(("I9",), Faults(commit_fails=300)),
    no_set_aside: Caught(("I1",), Faults(worker_dies=60)),
    lease_taken_back_early: Caught(("I2",)),
    deposed_and_writing: Caught(("I2",), Faults(takeover=15)),
    asked_again_given_another: Caught(("I2",), Faults(late_again=600), {"release": 70, "complete": 30}),
    finish_counts_again: Caught(("I1",), Faults(late_again=500), {"release": 30, "hardware": 30, "complete": 40}),
}
