"""What the writer knows of rows is what the rows say, after every call."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from tests.conftest import Clock
from tests.contracts.test_replay import PRUNERS, SAMPLERS
from tests.simulation import play, start_study, start_worker
from tuner.budget import gpu_hours, hours
from tuner.db import file_rows, study_rows, trial_rows, worker_rows
from tuner.db.gain_rows import ended_since_best
from tuner.db.known_rows import Known, known
from tuner.db.tables import trials
from tuner.errors import StaleLease
from tuner.lifecycle import Actor
from tuner.records import Study, Trial
from tuner.service import Service, open_service
from tuner.settings import Settings


def known_now(service: Service) -> tuple[dict[str, Trial], dict[str, Study]]:
    facts = service.ledger.database._known
    return dict(facts._trials), dict(facts._studies)


def check_known(service: Service) -> int:
    """How many trials are known; whatever is known must be as it stands in the database."""
    its_trials, its_studies = known_now(service)
    facts = service.ledger.database._known
    with service.ledger.read() as connection:
        running = facts.running()
        assert running is None or running == study_rows.running_studies(connection)
        for study_id, of_study in facts._of_studies.items():
            assert not of_study.none_waits or trial_rows.next_waiting(connection, study_id) is None
            assert not of_study.no_files or not file_rows.has_files(connection, study_id)
            at_work = trial_rows.list_trials(connection, study_id, states=["running"])[1]
            assert of_study.at_work in (None, at_work)
            assert of_study.gainless is None or of_study.gainless >= ended_since_best(connection, study_id, maximize=True)
            for limit, (_, until) in of_study.unspent.items():
                study = study_rows.get_study(connection, study_id)
                assert study is not None
                used = hours(connection, study_id, until) if limit == "hours" else gpu_hours(connection, study, until)
                assert used <= getattr(study.spec.budget, limit) + 1e-9
        stored = {worker.id: worker for worker in worker_rows.list_workers(connection)}
        assert facts._workers.items() <= stored.items()
        for lease_id, trial in its_trials.items():
            assert trial == trial_rows.get_trial(connection, trial.study_id, trial.number)
            assert trial.lease_id == lease_id
        for study_id, study in its_studies.items():
            assert study == study_rows.get_study(connection, study_id)
    return len(its_trials)


@pytest.mark.parametrize("pruner", PRUNERS[:5], ids=lambda pruner: f"{pruner['name']}-{pruner.get('promotion')}")
def test_it_is_true_throughout_a_study(settings: Settings, pruner: dict[str, Any]) -> None:
    clock = Clock()
    with open_service(settings, clock=clock) as service:
        start_study(
            service,
            clock(),
            **(SAMPLERS["random"] | {"pruner": pruner, "budget": {"trials": 12, "hours": 9, "gpu_hours": 9, "no_gain_in": 40}}),
        )
        seen: list[int] = []

        def before_each_call() -> None:
            clock.forward(1)
            seen.append(check_known(service))

        play(service, clock, side_by_side=4, before_each_call=before_each_call)
        assert max(seen) >= 4, "nothing was known, so nothing was tried"


def test_a_change_by_anybody_else_makes_it_forget(service: Service, clock: Clock) -> None:
    study = start_study(service, clock())
    lease = service.manager.lease(start_worker(service, clock()), now=clock())
    assert lease is not None and known_now(service)[0].keys() == {lease.id}
    service.lifecycle.pause(study.id, actor=Actor(), now=clock())
    assert service.manager.heartbeat(lease.id, now=clock()).reason == "paused"
    service.ledger.database.write(lambda c: c.execute(update(trials).values(reason="x")))
    assert known_now(service) == ({}, {})
    service.manager.heartbeat(lease.id, now=clock())
    check_known(service)
    service.lifecycle.stop(study.id, actor=Actor(), now=clock())
    assert service.manager.heartbeat(lease.id, now=clock()).stop
    with pytest.raises(StaleLease):
        service.manager.heartbeat("nothing", now=clock())
    check_known(service)


def test_what_was_undone_is_forgotten(service: Service, clock: Clock) -> None:
    start_study(service, clock())
    worker_id = start_worker(service, clock())

    def boom(change: Any) -> None:
        assert service.manager.leasing(worker_id, now=clock())(change) is not None
        raise LookupError("no")

    with pytest.raises(LookupError):
        service.ledger.change(boom)
    assert known_now(service)[0] == {}
    lease = service.manager.lease(worker_id, now=clock())
    assert lease is not None and lease.trial == 0 and check_known(service) == 1


def test_readers_know_nothing(service: Service, clock: Clock) -> None:
    start_study(service, clock())
    lease = service.manager.lease(start_worker(service, clock()), now=clock())
    with service.ledger.read() as connection:
        assert lease is not None and trial_rows.trial_of_lease(connection, lease.id) is not None
        assert known(connection).trial(lease.id) is None


def test_it_does_not_grow_without_end(service: Service, clock: Clock) -> None:
    start_study(service, clock())
    lease = service.manager.lease(start_worker(service, clock()), now=clock())
    assert lease is not None
    trial, facts = known_now(service)[0][lease.id], Known(most=2)
    for number in range(5):
        facts.keep_trial(trial.__class__(**(trial.__dict__ | {"id": number, "lease_id": str(number)})))
        assert facts.trial(str(number)) is not None and len(facts._trials) <= 2
