"""Trials set aside at a rung: what workers get when, and that a study always ends."""

from __future__ import annotations

import random
from typing import Any

import pytest

from studies.definition import Verdict
from tests.conftest import Clock
from tests.simulation import accuracy, keep_checkpoint, start_worker
from tests.tuner.helpers import Bench, completed, make_bench
from tuner.granting import Lease
from tuner.lifecycle import Actor
from tuner.manager import Ending
from tuner.service import Service

LATER = Verdict(stop=True, reason="promoted_later")
SPACE: dict[str, Any] = {
    "learning_rate": {"min": "1e-6", "max": 1e-3, "log": True},
    "epochs": {"value": 9},
    "frozen_layers": {"value": 0},
}


def asha_bench(service: Service, clock: Clock, **changes: Any) -> Bench:
    return make_bench(service, clock, **({"pruner": {"name": "asha", "promotion": True}, "parameters": SPACE} | changes))


def run_default(bench: Bench, value: float = 0.3) -> None:
    lease = bench.lease()
    for epoch in range(1, 10):
        assert not bench.report(lease, epoch, value).stop
    bench.finish(lease, value)


def to_first_rung(bench: Bench, value: float, *, checkpoint: bool = True) -> Lease:
    """A new trial that comes to epoch 1, and is given back if it is told so."""
    lease = bench.lease()
    if bench.report(lease, 1, value).stop:
        if checkpoint:
            keep_checkpoint(bench.service, lease, 1, bench.clock())
        bench.service.manager.finish(lease.id, Ending(state="released"), now=bench.clock())
    return lease


def test_a_trial_behind_is_set_aside_and_goes_on_from_its_checkpoint_once_it_ranks_high_enough(
    service: Service, clock: Clock
) -> None:
    bench = asha_bench(service, clock, budget={"trials": 12})
    run_default(bench)
    lease = bench.lease()
    assert bench.report(lease, 1, 0.2) == LATER
    assert bench.report(lease, 1, 0.2) == LATER, "the same report again gets the same answer"
    assert service.manager.heartbeat(lease.id, now=clock()) == LATER
    assert bench.report(lease, 2, 0.9) == LATER, "and what it says after that is not heard"
    keep_checkpoint(service, lease, 1, clock())
    assert service.manager.finish(lease.id, Ending(state="released"), now=clock()) == "released"
    waiting = bench.trial(1)
    assert (waiting.state, waiting.value, waiting.epoch) == ("waiting", 0.2, 1.0)
    assert waiting.reason == "asha: 1 of 2 trials did better at epoch 1; it waits there and goes on once it ranks high enough"
    for value in (0.1, 0.1, 0.1):
        to_first_rung(bench, value)
    assert to_first_rung(bench, 0.05).trial == 5, "two of six may go on: the default, and now trial 1"
    again = bench.lease()
    assert (again.trial, again.attempt, again.resume and again.resume.epoch) == (1, 2, 1.0)
    assert (bench.trial(1).state, bench.trial(1).reason) == ("running", None)
    assert not bench.report(again, 2, 0.25).stop
    assert bench.report(again, 3, 0.28) == LATER


def test_a_promotable_trial_goes_before_a_new_one_and_an_interrupted_one_before_both(service: Service, clock: Clock) -> None:
    bench = asha_bench(service, clock, budget={"trials": 12})
    run_default(bench)
    waits = [to_first_rung(bench, value).trial for value in (0.2, 0.1, 0.1, 0.1)]
    interrupted = bench.lease()
    last = bench.lease()
    assert bench.report(last, 1, 0.05) == LATER
    service.manager.finish(interrupted.id, Ending(state="released"), now=clock())
    service.manager.finish(last.id, Ending(state="released"), now=clock())
    assert [bench.lease().trial for _ in range(3)] == [interrupted.trial, waits[0], 7]


def test_a_trial_whose_worker_winds_down_is_not_given_to_another(service: Service, clock: Clock) -> None:
    bench = asha_bench(service, clock, budget={"trials": 12}, parallelism=8)
    run_default(bench)
    held = bench.lease()
    assert bench.report(held, 1, 0.2) == LATER
    for value in (0.1, 0.1, 0.1, 0.1):
        to_first_rung(bench, value)
    assert bench.lease().trial == 6, "trial 1 ranks high enough, but has not left its checkpoint yet"
    keep_checkpoint(service, held, 1, clock())
    service.manager.finish(held.id, Ending(state="released"), now=clock())
    assert bench.lease().trial == 1


@pytest.mark.parametrize("trials", [2, 3, 7, 20])
def test_a_study_ends_with_a_searched_trial_that_ran_to_its_end(service: Service, clock: Clock, trials: int) -> None:
    bench = asha_bench(service, clock, budget={"trials": trials}, parallelism=1)
    work_off(bench, random.Random(0))
    states = [trial.state for trial in bench.trials()]
    assert bench.study().state == "completed"
    assert states.count("completed") >= 2 and set(states) <= {"completed", "pruned"}
    ended_behind = [trial for trial in bench.trials() if trial.state == "pruned"]
    assert all(trial.reason and "did better" in trial.reason and "waits" not in trial.reason for trial in ended_behind)
    best = max((trial for trial in bench.trials() if trial.origin == "sampled"), key=lambda trial: accuracy(trial.params, 9))
    assert best.state == "completed", "curves that do not cross: the best is found"


def test_without_a_checkpoint_a_promoted_trial_starts_anew_and_is_not_judged_twice(service: Service, clock: Clock) -> None:
    bench = asha_bench(service, clock, budget={"trials": 12})
    run_default(bench)
    to_first_rung(bench, 0.2, checkpoint=False)
    for value in (0.1, 0.1, 0.1, 0.05):
        to_first_rung(bench, value)
    again = bench.lease()
    assert (again.trial, again.resume) == (1, None)
    assert [bench.report(again, epoch, 0.2) for epoch in (1, 2)] == [Verdict(), Verdict()]
    assert bench.report(again, 3, 0.2) == LATER


def test_a_program_that_takes_the_stop_for_the_end_only_gives_its_trial_back(service: Service, clock: Clock) -> None:
    bench = asha_bench(service, clock)
    run_default(bench)
    lease = bench.lease()
    assert bench.report(lease, 1, 0.1) == LATER
    assert [service.manager.finish(lease.id, completed(0.1), now=clock()) for _ in range(2)] == ["released"] * 2
    assert bench.trial(1).state == "waiting"


def test_a_worker_lost_after_the_rung_costs_no_retry(service: Service, clock: Clock) -> None:
    bench = asha_bench(service, clock, retries=0)
    run_default(bench)
    lease = bench.lease()
    assert bench.report(lease, 1, 0.2) == LATER
    service.manager.expire(now=clock.forward(1000))
    assert (bench.trial(1).state, bench.trial(1).retries, bench.trial(1).value) == ("waiting", 0, 0.2)


@pytest.mark.parametrize("limit", [{"target": 0.25}, {"hours": 0.01}, {"no_gain_in": 3}])
def test_a_limit_ends_those_that_wait_as_pruned(service: Service, clock: Clock, limit: dict[str, float]) -> None:
    bench = asha_bench(service, clock, budget={"trials": 30} | limit)
    first = bench.lease()
    to_first_rung(bench, 0.1)
    clock.forward(40)
    for epoch in range(1, 10):
        bench.report(first, epoch, 0.3)
    bench.finish(first, 0.3)
    for value in (0.1, 0.1, 0.1):
        if bench.study().state == "running" and limit == {"no_gain_in": 3}:
            to_first_rung(bench, value)
    assert bench.study().state == "completed"
    assert {trial.state for trial in bench.trials()} == {"completed", "pruned"}


def test_a_trial_that_reaches_the_target_is_not_set_aside(service: Service, clock: Clock) -> None:
    bench = asha_bench(service, clock, budget={"trials": 30, "target": 0.25})
    bench.lease()
    assert bench.report(bench.lease(), 1, 0.24) == LATER
    assert bench.report(bench.lease(), 1, 0.25) == Verdict(), "it is behind no other, but of two none is promoted yet"


@pytest.mark.parametrize("pruner", [{"name": "none"}, {"name": "median"}, {"name": "asha", "promotion": False}])
def test_another_pruner_lets_those_that_wait_go_on(service: Service, clock: Clock, pruner: dict[str, Any]) -> None:
    bench = asha_bench(service, clock)
    run_default(bench)
    to_first_rung(bench, 0.2)
    service.lifecycle.change_study(bench.study_id, {"pruner": pruner}, version=None, actor=Actor(), now=clock())
    assert (bench.trial(1).set_aside_at, bench.trial(1).reason) == (None, None)
    assert (bench.lease().trial, bench.lease().trial) == (1, 2)


def test_other_rungs_keep_those_waiting_that_stand_at_one(service: Service, clock: Clock) -> None:
    bench = asha_bench(service, clock, budget={"trials": 4})
    run_default(bench)
    to_first_rung(bench, 0.2)
    change = {"pruner": {"name": "asha", "reduction_factor": 2}}
    service.lifecycle.change_study(bench.study_id, change, version=None, actor=Actor(), now=clock())
    assert bench.trial(1).set_aside_at is not None
    assert to_first_rung(bench, 0.1).trial == 2
    assert to_first_rung(bench, 0.1).trial == 3, "two of four may go on"
    assert bench.lease().trial == 1


class Chaos:
    """Workers, people and accidents in a seeded order, until the study is over."""

    def __init__(self, bench: Bench, rng: random.Random) -> None:
        self.bench = bench
        self.rng = rng
        self.running: dict[str, tuple[Lease, int]] = {}

    def step(self) -> None:
        rng, bench = self.rng, self.bench
        manager, lifecycle, now = bench.service.manager, bench.service.lifecycle, bench.clock.forward(1)
        event = rng.random()
        if event < 0.03:
            lifecycle.pause(bench.study_id, actor=Actor(), now=now)
            for lease, epoch in list(self.running.values()):
                self.give_back(lease, epoch)
            lifecycle.resume(bench.study_id, actor=Actor(), now=now)
        elif event < 0.05 and self.running:
            self.running.pop(rng.choice(list(self.running)))  # a worker dies
            for lease, _ in self.running.values():
                manager.heartbeat(lease.id, now=bench.clock.forward(35))
            manager.expire(now=bench.clock.forward(30))
        elif event < 0.07:
            trials = bench.study().n_created + rng.randrange(4)
            lifecycle.change_study(bench.study_id, {"budget": {"trials": trials}}, version=None, actor=Actor(), now=now)
        elif event < 0.09:
            change = {"parallelism": rng.randint(1, 4)}
            lifecycle.change_study(bench.study_id, change, version=None, actor=Actor(), now=now)
        elif event < 0.10:
            lifecycle.stop_trial(bench.study_id, rng.randrange(bench.study().n_created), actor=Actor(), now=now)
        elif event < 0.4 or not self.running:
            given = manager.lease(bench.worker_id, now=now)
            if given is not None:
                self.running[given.id] = (given, int(given.resume.epoch) if given.resume else 0)
        else:
            self.train(*self.running[rng.choice(list(self.running))])

    def train(self, lease: Lease, epoch: int) -> None:
        bench, epoch = self.bench, epoch + 1
        verdict = bench.report(lease, epoch, accuracy(lease.params, epoch))
        if self.rng.random() < 0.02:
            bench.fail(lease)
        elif verdict.reason in ("promoted_later", "paused"):
            return self.give_back(lease, epoch)
        elif verdict.stop or epoch >= int(str(lease.params["epochs"])):
            bench.finish(lease, accuracy(lease.params, epoch))
        else:
            self.running[lease.id] = (lease, epoch)
            return
        self.running.pop(lease.id, None)

    def give_back(self, lease: Lease, epoch: int) -> None:
        now = self.bench.clock()
        self.running.pop(lease.id, None)
        if (
            self.bench.service.manager.heartbeat(lease.id, now=now).reason in ("paused", "promoted_later")
            and epoch
            and self.rng.random() < 0.7
        ):
            keep_checkpoint(self.bench.service, lease, epoch, now)
        self.bench.service.manager.finish(lease.id, Ending(state="released"), now=now)


@pytest.mark.parametrize("seed", range(6))
def test_a_study_always_ends(service: Service, clock: Clock, seed: int) -> None:
    rng = random.Random(seed)
    pruner = rng.choice([{"name": "asha"}, {"name": "asha", "reduction_factor": 2}, {"name": "hyperband"}])
    epochs: dict[str, Any] = rng.choice([{"value": 9}, {"min": 1, "max": 9}])
    bench = asha_bench(
        service,
        clock,
        pruner=pruner,
        parameters=SPACE | {"epochs": epochs},
        budget={"trials": rng.randint(2, 12)},
        parallelism=rng.randint(1, 4),
    )
    chaos = Chaos(bench, rng)
    for _ in range(2000):
        if bench.study().state not in ("running", "paused"):
            break
        chaos.step()
    assert bench.study().state == "completed", bench.trials()
    assert all(trial.finished for trial in bench.trials())
    assert bench.study().n_created == len(bench.trials())


def work_off(bench: Bench, rng: random.Random) -> None:
    """One worker, no accidents."""
    worker_id = start_worker(bench.service, bench.clock())
    while (lease := bench.service.manager.lease(worker_id, now=bench.clock())) is not None:
        epoch, stop = int(lease.resume.epoch) if lease.resume else 0, Verdict()
        while epoch < 9 and not stop.stop:
            epoch += 1
            stop = bench.report(lease, epoch, accuracy(lease.params, epoch))
        if stop == LATER and rng.random() < 0.5:
            keep_checkpoint(bench.service, lease, epoch, bench.clock())
        ending = Ending(state="released") if stop == LATER else completed(accuracy(lease.params, epoch))
        bench.service.manager.finish(lease.id, ending, now=bench.clock())
