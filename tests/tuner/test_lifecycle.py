from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from studies.definition import ParamValue, Verdict
from studies.errors import InvalidInput
from tests.conftest import Clock
from tests.simulation import study_body
from tests.tuner.helpers import Bench, all_rows, completed, make_bench, plain_study
from tuner.db import access_rows, lease_rows, study_rows
from tuner.errors import Conflict, NotFound, StaleLease, StaleVersion
from tuner.lifecycle import Actor
from tuner.manager import Ending
from tuner.records import AuditEntry, Study, Token
from tuner.service import Service
from tuner.spec import CheckedStudy, check, parse
from tuner.starts import default_params

EDITOR = Actor(
    token=Token(
        id="t1", name="Ada", role="editor", created_at=datetime(2026, 1, 1), expires_at=None, revoked_at=None, used_at=None
    ),
    address="10.0.0.7",
)


def checked(**changes: Any) -> CheckedStudy:
    return check(parse(study_body(**changes)), check_data=False)


def audit(service: Service) -> list[AuditEntry]:
    with service.ledger.read() as connection:
        return access_rows.list_audit(connection, before_id=None, limit=100)[0]


# ---- create


def test_a_new_study_runs_and_its_first_trial_is_the_untuned_default(bench: Bench) -> None:
    study, trial = bench.study(), bench.trial(0)
    assert (study.state, study.n_created, study.version) == ("running", 1, 1)
    assert (study.created_at, study.updated_at, study.finished_at) == (bench.clock(), bench.clock(), None)
    assert (trial.state, trial.origin) == ("waiting", "default")
    assert trial.params == {
        "learning_rate": 5e-5,
        "batch_size": 8,
        "epochs": 3,
        "frozen_layers": 0,
        "optimizer": "adamw",
        "weight_decay": 0.01,
    }


def test_the_default_is_moved_into_the_space() -> None:
    parameters = {
        "learning_rate": {"min": 1e-4, "max": 1e-3, "log": True},
        "batch_size": {"values": [16, 32]},
        "epochs": {"min": 4, "max": 8},
        "optimizer": {"values": ["sgd", "adam"]},
        "momentum": {"min": 0.95, "max": 0.99, "when": {"optimizer": "sgd"}},
    }
    params = default_params(checked(parameters=parameters))
    assert params == {"learning_rate": 1e-4, "batch_size": 16, "epochs": 4, "optimizer": "sgd", "momentum": 0.95}


def test_a_study_without_a_name_gets_one(service: Service, clock: Clock) -> None:
    first = plain_study(service, clock(), name=None)
    second = plain_study(service, clock(), name=None)
    assert first.name.startswith("trec-minilm-") and first.name != second.name
    assert first.spec.name == first.name


def test_a_name_is_unique_among_live_studies(bench: Bench) -> None:
    for pause in (False, True):
        if pause:
            bench.service.lifecycle.pause(bench.study_id, actor=Actor(), now=bench.clock())
        before = all_rows(bench.service)
        with pytest.raises(Conflict, match="'simulated' is running or paused"):
            plain_study(bench.service, bench.clock())
        assert all_rows(bench.service) == before
    bench.service.lifecycle.stop(bench.study_id, actor=Actor(), now=bench.clock())
    second = plain_study(bench.service, bench.clock.forward(1))
    with bench.service.ledger.read() as connection:
        newest = study_rows.find_study(connection, "simulated")
    assert newest is not None and newest.id == second.id


def test_of_many_who_want_one_name_at_once_one_gets_it(service: Service, clock: Clock) -> None:
    def create(_: int) -> Study | None:
        try:
            return plain_study(service, clock())
        except Conflict:
            return None

    with ThreadPoolExecutor(8) as pool:
        made = [study for study in pool.map(create, range(8)) if study is not None]
    assert len(made) == 1


def test_a_request_sent_again_makes_no_second_study(service: Service, clock: Clock) -> None:
    def create(body: str, name: str) -> Study:
        return service.lifecycle.create(checked(name=name), actor=Actor(), now=clock(), idempotency=("key", body))

    first = create("a", "one")
    before = all_rows(service)
    assert create("a", "one") == first
    with pytest.raises(Conflict, match="another body"):
        create("b", "two")
    assert all_rows(service) == before
    service.lifecycle.stop(first.id, actor=Actor(), now=clock())
    assert create("a", "one").id == first.id, "what it made has ended, and still is what it made"
    service.lifecycle.delete(first.id, actor=Actor(), now=clock())
    assert create("b", "two").id != first.id, "the key went with the study"


def test_a_study_that_could_not_be_started_leaves_nothing_behind(bench: Bench) -> None:
    before = all_rows(bench.service)
    with pytest.raises(Conflict):
        bench.service.lifecycle.create(checked(), actor=Actor(), now=bench.clock(), idempotency=("key", "a"))
    assert all_rows(bench.service) == before


# ---- pause, resume, stop


def test_a_paused_study_hands_out_nothing_and_tells_its_workers_to_stop(bench: Bench) -> None:
    lease = bench.lease()
    bench.service.lifecycle.pause(bench.study_id, actor=Actor(), now=bench.clock())
    paused = Verdict(stop=True, reason="paused")
    assert bench.report(lease, 1, 0.4) == paused
    assert bench.service.manager.heartbeat(lease.id, now=bench.clock()) == paused
    assert bench.service.manager.finish(lease.id, Ending(state="released"), now=bench.clock()) == "released"
    assert bench.service.manager.lease(bench.worker_id, now=bench.clock()) is None
    assert (bench.study().state, bench.study().finished_at) == ("paused", None)


def test_a_resumed_study_goes_on_where_it_was(bench: Bench) -> None:
    lease = bench.lease()
    bench.report(lease, 1, 0.4)
    bench.service.lifecycle.pause(bench.study_id, actor=Actor(), now=bench.clock())
    bench.service.manager.finish(lease.id, Ending(state="released"), now=bench.clock())
    study = bench.service.lifecycle.resume(bench.study_id, actor=Actor(), now=bench.clock())
    assert (study.state, study.reason) == ("running", None)
    again = bench.lease()
    assert (again.trial, again.attempt, again.params) == (0, 2, lease.params)
    assert bench.report(again, 1, 0.4) == Verdict()


def test_a_worker_that_did_not_stop_in_time_goes_on_after_a_resume(bench: Bench) -> None:
    lease = bench.lease()
    bench.service.lifecycle.pause(bench.study_id, actor=Actor(), now=bench.clock())
    bench.service.lifecycle.resume(bench.study_id, actor=Actor(), now=bench.clock())
    assert bench.report(lease, 1, 0.4) == Verdict()
    assert bench.finish(lease, 0.4) == "completed"


def test_a_trial_may_complete_while_its_study_is_paused(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"trials": 1})
    lease = bench.lease()
    service.lifecycle.pause(bench.study_id, actor=Actor(), now=clock())
    assert bench.finish(lease, 0.4) == "completed"
    assert bench.study().state == "paused"
    service.lifecycle.resume(bench.study_id, actor=Actor(), now=clock())
    assert bench.study().state == "completed"


def test_a_trial_lost_while_its_study_is_paused_waits_for_the_resume(bench: Bench) -> None:
    bench.lease()
    bench.service.lifecycle.pause(bench.study_id, actor=Actor(), now=bench.clock())
    assert bench.service.manager.expire(now=bench.clock.forward(61)) == 1
    assert bench.trial(0).state == "waiting"


def test_a_stopped_study_ends_its_trials_with_their_last_value(bench: Bench) -> None:
    running, released = bench.lease(), bench.lease()
    bench.report(running, 1, 0.4)
    bench.service.manager.finish(released.id, Ending(state="released"), now=bench.clock())
    study = bench.service.lifecycle.stop(bench.study_id, actor=Actor(), now=bench.clock.forward(5))
    assert (study.state, study.finished_at) == ("stopped", bench.clock())
    assert [(trial.state, trial.value) for trial in bench.trials()] == [("stopped", 0.4), ("stopped", None)]
    with bench.service.ledger.read() as connection:
        attempts = lease_rows.attempts_of(connection, *(trial.id for trial in bench.trials()))
    assert sorted(str(attempt.outcome) for attempt in attempts) == ["released", "stopped"]
    assert all(attempt.ended_at is not None for attempt in attempts)


def test_the_worker_of_a_stopped_trial_is_told_and_cannot_change_the_end(bench: Bench) -> None:
    lease = bench.lease()
    bench.report(lease, 1, 0.4)
    bench.service.lifecycle.stop(bench.study_id, actor=Actor(), now=bench.clock())
    stopped = Verdict(stop=True, reason="stopped")
    assert bench.service.manager.heartbeat(lease.id, now=bench.clock()) == stopped
    assert bench.report(lease, 2, 0.9) == stopped
    assert bench.service.manager.finish(lease.id, completed(0.9), now=bench.clock()) == "stopped"
    assert (bench.trial(0).state, bench.trial(0).value) == ("stopped", 0.4)


@pytest.mark.parametrize(
    ("first", "then", "refused"),
    [
        (["pause"], "pause", False),
        ([], "resume", False),
        (["pause"], "stop", False),
        (["stop"], "stop", False),
        (["stop"], "pause", True),
        (["stop"], "resume", True),
    ],
)
def test_asked_twice_changes_nothing_and_what_cannot_be_is_refused(
    bench: Bench, first: list[str], then: str, refused: bool
) -> None:
    def ask(action: str) -> Study:
        method: Callable[..., Study] = getattr(bench.service.lifecycle, action)
        return method(bench.study_id, actor=Actor(), now=bench.clock())

    for action in first:
        ask(action)
    before = all_rows(bench.service)
    if refused:
        with pytest.raises(Conflict, match="is stopped"):
            ask(then)
    else:
        ask(then)
    if refused or then in (*first, "resume"):
        assert all_rows(bench.service) == before


def test_a_completed_study_stays_completed(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"trials": 1})
    bench.complete(0.5)
    for action in (service.lifecycle.pause, service.lifecycle.resume, service.lifecycle.stop):
        with pytest.raises(Conflict, match="is completed"):
            action(bench.study_id, actor=Actor(), now=clock())


# ---- trials


def test_one_trial_can_be_stopped(bench: Bench) -> None:
    lease = bench.lease()
    bench.report(lease, 1, 0.4)
    for _ in range(2):
        trial = bench.service.lifecycle.stop_trial(bench.study_id, 0, actor=Actor(), now=bench.clock())
        assert (trial.state, trial.value, trial.reason) == ("stopped", 0.4, "stopped by a user")
    assert bench.service.manager.heartbeat(lease.id, now=bench.clock()).reason == "stopped"
    assert bench.lease().trial == 1
    assert bench.study().state == "running"


def test_stopping_the_last_trial_ends_the_study(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"trials": 1})
    service.lifecycle.stop_trial(bench.study_id, 0, actor=Actor(), now=clock())
    assert bench.study().state == "completed"


def test_a_trial_that_has_ended_stays_as_it_is(bench: Bench) -> None:
    before = bench.complete(0.5)
    assert bench.service.lifecycle.stop_trial(bench.study_id, 0, actor=Actor(), now=bench.clock()) == before


def test_a_trial_that_is_not_there_can_not_be_stopped(bench: Bench) -> None:
    before = all_rows(bench.service)
    with pytest.raises(NotFound, match="no trial 7"):
        bench.service.lifecycle.stop_trial(bench.study_id, 7, actor=Actor(), now=bench.clock())
    assert all_rows(bench.service) == before


def test_an_enqueued_trial_is_next_and_what_is_left_out_is_sampled(bench: Bench) -> None:
    bench.lease()
    given: dict[str, ParamValue] = {"learning_rate": 3e-4, "epochs": 2.0, "optimizer": "sgd", "weight_decay": 0.01}
    trial = bench.service.lifecycle.enqueue(bench.study_id, given, actor=Actor(), now=bench.clock())
    assert (trial.number, trial.origin, trial.state) == (1, "enqueued", "waiting")
    assert trial.params.items() >= given.items()
    assert isinstance(trial.params["epochs"], int)
    assert set(trial.params) == {*given, "batch_size", "frozen_layers", "momentum"}
    lease = bench.lease()
    assert (lease.trial, lease.params) == (1, trial.params)
    bench.service.ledger.database.on_rollback()
    assert bench.lease().trial == 2


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({"learning_rat": 1e-4}, ["params.learning_rat"]),
        ({"learning_rate": 1.0, "epochs": 0}, ["params.learning_rate", "params.epochs"]),
        ({"learning_rate": float("nan")}, ["params.learning_rate"]),
        ({"batch_size": 9}, ["params.batch_size"]),
        ({"batch_size": True}, ["params.batch_size"]),
        ({"epochs": 1.5}, ["params.epochs"]),
        ({"epochs": "2"}, ["params.epochs"]),
        ({"optimizer": None}, ["params.optimizer"]),
        ({"weight_decay": 0.02}, ["params.weight_decay"]),
    ],
)
def test_parameters_outside_the_space_are_refused(bench: Bench, given: dict[str, ParamValue], fields: list[str]) -> None:
    before = all_rows(bench.service)
    with pytest.raises(InvalidInput) as refusal:
        bench.service.lifecycle.enqueue(bench.study_id, given, actor=Actor(), now=bench.clock())
    assert [error.field for error in refusal.value.errors] == fields
    assert all_rows(bench.service) == before


def test_a_value_between_two_steps_can_not_be_enqueued(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, parameters={"epochs": {"min": 1, "max": 9, "step": 2}})
    with pytest.raises(InvalidInput, match=r"params\.epochs"):
        service.lifecycle.enqueue(bench.study_id, {"epochs": 4}, actor=Actor(), now=clock())
    assert service.lifecycle.enqueue(bench.study_id, {"epochs": 5}, actor=Actor(), now=clock()).params == {"epochs": 5}


def test_enqueued_trials_count_against_the_budget(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"trials": 3})
    for number in (1, 2):
        assert service.lifecycle.enqueue(bench.study_id, {}, actor=Actor(), now=clock()).number == number
    with pytest.raises(Conflict, match="budget leaves no other"):
        service.lifecycle.enqueue(bench.study_id, {}, actor=Actor(), now=clock())
    for _ in range(3):
        bench.complete(0.5)
    assert bench.study().state == "completed"


def test_a_paused_study_takes_trials_but_a_stopped_one_does_not(bench: Bench) -> None:
    bench.service.lifecycle.pause(bench.study_id, actor=Actor(), now=bench.clock())
    bench.service.lifecycle.enqueue(bench.study_id, {}, actor=Actor(), now=bench.clock())
    bench.service.lifecycle.stop(bench.study_id, actor=Actor(), now=bench.clock())
    with pytest.raises(Conflict, match="is stopped"):
        bench.service.lifecycle.enqueue(bench.study_id, {}, actor=Actor(), now=bench.clock())


# ---- change, delete


def change(bench: Bench, version: int | None = None, **changes: Any) -> Study:
    return bench.service.lifecycle.change_study(bench.study_id, changes, version=version, actor=Actor(), now=bench.clock())


def test_what_may_change_changes_and_the_rest_stays(bench: Bench) -> None:
    before = bench.study()
    after = change(bench, budget={"trials": 99}, parallelism=1, pruner={"name": "asha"}, notes="é", tags={"team": "nlp"})
    assert after.version == before.version + 1
    assert (after.spec.budget.trials, after.spec.parallelism, after.spec.pruner.name) == (99, 1, "asha")
    assert (after.spec.notes, after.spec.tags) == ("é", {"team": "nlp"})
    back = {"budget": before.spec.budget, "parallelism": 4, "pruner": before.spec.pruner, "notes": "", "tags": {}}
    assert after.spec.model_copy(update=back) == before.spec


def test_a_lower_parallelism_counts_at_once(bench: Bench) -> None:
    bench.lease()
    change(bench, parallelism=1)
    assert bench.service.manager.lease(bench.worker_id, now=bench.clock()) is None


def test_one_limit_of_the_budget_changes_without_the_others(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"trials": 9, "target": 0.9})
    budget = change(bench, budget={"trials": None}).spec.budget
    assert (budget.trials, budget.target) == (None, 0.9)


def test_a_budget_cut_to_what_is_done_ends_the_study(bench: Bench) -> None:
    bench.complete(0.5)
    assert change(bench, budget={"trials": 1}).state == "completed"


def test_a_budget_below_what_was_started_is_refused(bench: Bench) -> None:
    bench.lease(), bench.lease()
    with pytest.raises(InvalidInput, match=r"budget\.trials: 2 trials were started"):
        change(bench, budget={"trials": 1})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"task": "x"}, "task"),
        ({"seed": 1, "notes": "x"}, "seed"),
        ({"budget": {"trails": 3}}, "budget.trails"),
        ({"budget": None}, "budget"),
        ({"parallelism": 0}, "parallelism"),
        ({"pruner": {"name": "magic"}}, "pruner.name"),
        ({"notes": None}, "notes"),
    ],
)
def test_a_wrong_change_is_named_and_changes_nothing(bench: Bench, changes: dict[str, Any], field: str) -> None:
    before = all_rows(bench.service)
    with pytest.raises(InvalidInput) as refusal:
        change(bench, **changes)
    assert [error.field for error in refusal.value.errors] == [field]
    assert all_rows(bench.service) == before


def test_a_change_of_what_has_changed_since_is_refused(bench: Bench) -> None:
    version = bench.study().version
    change(bench, version, notes="first")
    with pytest.raises(StaleVersion):
        change(bench, version, notes="second")
    assert bench.study().spec.notes == "first"
    assert change(bench, version + 1, notes="second").spec.notes == "second"


def test_of_many_changes_of_one_version_one_counts(bench: Bench) -> None:
    version = bench.study().version

    def attempt(number: int) -> bool:
        try:
            change(bench, version, notes=str(number))
        except StaleVersion:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1


def test_a_pause_counts_as_a_change_but_a_lease_does_not(bench: Bench) -> None:
    version = bench.study().version
    bench.complete(0.5)
    assert bench.study().version == version
    bench.service.lifecycle.pause(bench.study_id, actor=Actor(), now=bench.clock())
    assert bench.study().version == version + 1


def test_of_a_stopped_study_only_notes_and_tags_change(bench: Bench) -> None:
    bench.service.lifecycle.stop(bench.study_id, actor=Actor(), now=bench.clock())
    assert change(bench, notes="done", tags={"a": "b"}).spec.notes == "done"
    with pytest.raises(Conflict, match="only its notes and tags"):
        change(bench, parallelism=2)
    with pytest.raises(Conflict, match="only its notes and tags"):
        change(bench, budget={"trials": 1000})


def test_a_running_study_is_not_deleted(bench: Bench) -> None:
    before = all_rows(bench.service)
    with pytest.raises(Conflict, match="is running"):
        bench.service.lifecycle.delete(bench.study_id, actor=Actor(), now=bench.clock())
    assert all_rows(bench.service) == before


def test_a_deleted_study_is_gone_with_all_that_belongs_to_it(bench: Bench) -> None:
    other = plain_study(bench.service, bench.clock.forward(1), name="other")
    rows_of_other = all_rows(bench.service)
    rows_of_other = {table: [row for row in rows if bench.study_id not in row] for table, rows in rows_of_other.items()}
    lease = bench.lease()
    bench.report(lease, 1, 0.4)
    bench.service.manager.log(lease.id, ["hello"], now=bench.clock())
    bench.service.lifecycle.pause(bench.study_id, actor=Actor(), now=bench.clock())
    bench.service.lifecycle.delete(bench.study_id, actor=Actor(), now=bench.clock())
    left = all_rows(bench.service)
    assert [left[table] for table in ("leases", "metrics", "logs")] == [[], [], []]
    assert left["studies"] == rows_of_other["studies"] and left["trials"] == rows_of_other["trials"]
    with pytest.raises(StaleLease):
        bench.finish(lease, 0.4)
    assert bench.lease().study_id == other.id


@pytest.mark.parametrize("action", ["pause", "resume", "stop", "delete"])
def test_a_study_that_is_not_there_is_not_found(service: Service, clock: Clock, action: str) -> None:
    with pytest.raises(NotFound, match="'nothing'"):
        getattr(service.lifecycle, action)("nothing", actor=Actor(), now=clock())


# ---- audit


def test_every_change_says_who_did_it(service: Service, clock: Clock) -> None:
    study = service.lifecycle.create(checked(), actor=EDITOR, now=clock())
    service.lifecycle.enqueue(study.id, {}, actor=EDITOR, now=clock.forward(1))
    service.lifecycle.stop_trial(study.id, 1, actor=EDITOR, now=clock.forward(1))
    service.lifecycle.change_study(study.id, {"notes": "n", "tags": {}}, version=None, actor=EDITOR, now=clock.forward(1))
    service.lifecycle.pause(study.id, actor=EDITOR, now=clock.forward(1))
    service.lifecycle.resume(study.id, actor=EDITOR, now=clock.forward(1))
    service.lifecycle.stop(study.id, actor=EDITOR, now=clock.forward(1))
    service.lifecycle.delete(study.id, actor=replace(EDITOR, token=None), now=clock.forward(1))
    entries = audit(service)
    assert [(entry.action, entry.subject, entry.detail) for entry in reversed(entries)] == [
        ("study.create", study.id, "simulated"),
        ("trial.enqueue", f"{study.id}/1", None),
        ("trial.stop", f"{study.id}/1", None),
        ("study.change", study.id, 'notes "" → "n"'),
        ("study.paused", study.id, "simulated"),
        ("study.running", study.id, "simulated"),
        ("study.stopped", study.id, "simulated"),
        ("study.delete", study.id, "simulated"),
    ]
    assert {(entry.token_id, entry.role, entry.address) for entry in entries[1:]} == {("t1", "editor", "10.0.0.7")}
    assert (entries[0].token_id, entries[0].role, entries[0].at) == (None, None, clock())
