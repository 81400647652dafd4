from __future__ import annotations

import math
from typing import Any

import pytest

from studies.errors import InvalidInput
from tests.conftest import Clock
from tests.simulation import accuracy, study_body
from tests.tuner.helpers import Bench, completed, make_bench
from tuner.db.space_rows import priors_of
from tuner.records import Prior, Trial
from tuner.service import Service
from tuner.spec import CheckedStudy, check, parse
from tuner.starts import Lessons, first_trials, related


def checked(**changes: Any) -> CheckedStudy:
    return check(parse(study_body(**changes)), check_data=False)


def finished(service: Service, clock: Clock, **changes: Any) -> Bench:
    """A study of eight trials that has ended."""
    bench = make_bench(service, clock, **({"budget": {"trials": 8}} | changes))
    for _ in range(8):
        lease = bench.lease()
        bench.finish(lease, accuracy(lease.params, 3))
    return bench


def test_the_literature_speaks_where_the_space_is_left_to_us() -> None:
    first = first_trials(checked(parameters="auto"), Lessons())
    assert [one.origin for one in first] == ["default", "literature", "literature"]
    assert [one.params["learning_rate"] for one in first] == [5e-5, 3e-5, 3e-4], "minilm is a small model"
    assert all(one.params.keys() == {"learning_rate", "batch_size", "epochs", "frozen_layers"} for one in first)
    assert len(first_trials(checked(parameters="auto", budget={"trials": 9}), Lessons())) == 2, "a fifth of the budget at most"
    assert [one.origin for one in first_trials(checked(), Lessons())] == ["default"]


def test_who_only_wants_a_score_soon_can_leave_the_default_out(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, untuned_default=False, start_with=[{"batch_size": 32}], budget={"trials": 2})
    assert [trial.origin for trial in bench.trials()] == ["enqueued"]
    for _ in range(2):
        bench.complete(0.5)
    assert bench.study().state == "completed"
    assert checked(untuned_default=False, start_with=[{}] * 20, budget={"trials": 20})
    with pytest.raises(InvalidInput, match="start_with: has 21 entries, but the budget leaves 20 trials"):
        checked(untuned_default=False, start_with=[{}] * 21, budget={"trials": 20})


def test_given_configurations_come_after_the_default(service: Service, clock: Clock) -> None:
    start = [{"learning_rate": 2e-4, "optimizer": "sgd"}, {"batch_size": 32}]
    bench = make_bench(service, clock, start_with=start, budget={"trials": 4})
    trials = bench.trials()
    assert [trial.origin for trial in trials] == ["default", "enqueued", "enqueued"]
    assert (trials[1].params["learning_rate"], trials[1].params["optimizer"]) == (2e-4, "sgd")
    assert "momentum" in trials[1].params and trials[2].params["batch_size"] == 32
    for _ in range(4):
        bench.complete(0.5)
    assert bench.study().state == "completed", "they count against the budget"


@pytest.mark.parametrize(
    ("start", "field"),
    [
        ([{"learning_rate": 1.0}], "start_with[0].learning_rate"),
        ([{}, {"rate": 1.0}], "start_with[1].rate"),
        ([{}] * 30, "start_with"),
    ],
)
def test_a_wrong_start_is_refused(start: list[dict[str, Any]], field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        checked(start_with=start, budget={"trials": 20})
    assert [error.field for error in refusal.value.errors] == [field]


def test_a_start_that_breaks_a_constraint_is_refused() -> None:
    with pytest.raises(InvalidInput, match="breaks the constraint"):
        checked(constraints=["epochs <= 5"], start_with=[{"epochs": 7}])


def test_a_study_of_the_same_problem_informs_the_sampler(service: Service, clock: Clock) -> None:
    earlier = finished(service, clock)
    # Another range, one parameter less, another searched: what lies inside is known, with the default where it was not searched.
    space = {
        "learning_rate": {"min": 1e-6, "max": 2e-4, "log": True},
        "epochs": {"min": 1, "max": 9},
        "frozen_layers": {"min": 0, "max": 6},
        "warmup_ratio": {"min": 0.0, "max": 0.5},
    }
    bench = make_bench(service, clock, name="later", parameters=space, warm_start=earlier.study().name)
    with service.ledger.read() as connection:
        priors = priors_of(connection, bench.study_id)
    inside = [trial for trial in earlier.trials() if float(str(trial.params["learning_rate"])) <= 2e-4]
    assert [prior.value for prior in priors] == [trial.value for trial in inside]
    assert 2 <= len(priors) < 8
    best = sorted(inside, key=lambda trial: -(trial.value or 0.0))[:4]
    taken = [trial.params for trial in bench.trials()[1:]]
    assert [params["learning_rate"] for params in taken] == [trial.params["learning_rate"] for trial in best if trial.number]
    assert all(params["warmup_ratio"] == 0.0 for params in taken)


def test_of_another_problem_the_best_are_tried_and_the_sampler_is_told_which_were_good(service: Service, clock: Clock) -> None:
    earlier = finished(service, clock)
    other = make_bench(service, clock, name="other", data={"train": "builtin:sms-spam"}, warm_start=[earlier.study_id])
    with service.ledger.read() as connection:
        priors = priors_of(connection, other.study_id)
    assert [(prior.value, prior.good) for prior in priors] == [
        (trial.value, rank == 0) for rank, trial in enumerate(sorted(earlier.trials(), key=lambda trial: -(trial.value or 0.0)))
    ]
    assert [trial.origin for trial in other.trials()].count("enqueued") in (3, 4), "the default may be one of the best four"


def test_of_a_long_related_study_a_selection_is_told_with_the_same_share_of_good_ones() -> None:
    known = [Prior(params={}, value=float(-rank), source="") for rank in range(5000)]
    told = related(known, of=3)
    assert [prior.good for prior in told] == [True] * 10 + [False] * 90
    assert [prior.value for prior in told[:2]] == [0.0, -50.0]
    assert len(related(known, of=20)) == 15 and len(related(known[:4], of=1)) == 4


def test_another_metric_of_an_earlier_study_can_be_the_objective(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"trials": 3})
    for loss in (0.7, 0.5, 0.6):
        lease = bench.lease()
        service.manager.finish(lease.id, completed(0.5, loss=loss), now=clock())
    copy = make_bench(service, clock, name="copy", objective={"metric": "loss"}, warm_start=[bench.study_id])
    with service.ledger.read() as connection:
        assert [prior.value for prior in priors_of(connection, copy.study_id)] == [0.7, 0.5, 0.6]
    assert copy.trials()[1].params == bench.trial(1).params, "the least loss comes first"


@pytest.mark.parametrize("named", ["nonsense", "empty"])
def test_a_study_that_tells_nothing_is_refused(service: Service, clock: Clock, named: str) -> None:
    make_bench(service, clock, name="empty")
    with pytest.raises(InvalidInput) as refusal:
        make_bench(service, clock, name="later", warm_start=[named])
    assert refusal.value.errors[0].field == "warm_start[0]"


@pytest.mark.parametrize("data", ["builtin:trec", "builtin:sms-spam"], ids=["same problem", "related"])
def test_with_priors_a_rebuilt_search_draws_the_same(service: Service, clock: Clock, data: str) -> None:
    earlier = finished(service, clock)
    drawn: list[list[Trial]] = []
    for rebuild in (False, True):
        bench = make_bench(
            service,
            clock,
            name=f"later{rebuild}",
            sampler={"name": "tpe", "startup_trials": 4},
            budget={"trials": 8},
            warm_start=earlier.study_id,
            data={"train": data},
        )
        for number in range(8):
            if rebuild:
                service.ledger.database.on_rollback()
            bench.complete(math.sin(number))
        drawn.append(bench.trials())
    assert [trial.params for trial in drawn[0]] == [trial.params for trial in drawn[1]]
