from __future__ import annotations

import random

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from studies.definition import Direction
from tuner.search_memory import BEST_SHOWN, MOST_GOOD, MOST_SHOWN, STUDY, Memory

SPACE: dict[str, optuna.distributions.BaseDistribution] = {"x": FloatDistribution(0.0, 1.0), "y": FloatDistribution(0.0, 1.0)}


def ended(rng: random.Random, state: OptunaState = OptunaState.COMPLETE) -> FrozenTrial:
    x, y = rng.random(), rng.random()
    score = 1 - abs(x - 0.3) - abs(y - 0.6)
    return optuna.trial.create_trial(
        state=state,
        value=score if state is OptunaState.COMPLETE else None,
        params={"x": x, "y": y},
        distributions=SPACE,
        intermediate_values={round(1 + 9 * rng.random()): score},
    )


def memory_of(trials: int, *, direction: Direction = "maximize") -> tuple[Memory, optuna.Study]:
    rng, memory = random.Random(1), Memory(SPACE)
    study = optuna.create_study(storage=memory, direction=direction)
    for number in range(trials):
        study.add_trial(ended(rng, OptunaState.PRUNED if number % 3 == 2 else OptunaState.COMPLETE))
    return memory, study


def shown(memory: Memory) -> list[int]:
    good, others = memory.good_and_others(-1)
    assert not set(good) & set(others)
    return sorted(good + others)


def test_few_trials_are_all_shown() -> None:
    memory, _ = memory_of(MOST_SHOWN)
    assert shown(memory) == list(range(MOST_SHOWN))


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_of_many_the_best_the_newest_and_the_running_ones_are_shown(direction: Direction) -> None:
    memory, _ = memory_of(3 * MOST_SHOWN, direction=direction)
    running = memory.create_new_trial(STUDY)
    numbers = shown(memory)
    assert MOST_SHOWN - 2 * BEST_SHOWN <= len(numbers) <= MOST_SHOWN + 1
    thirds = [sum(MOST_SHOWN * third <= number < MOST_SHOWN * (third + 1) for number in numbers) for third in range(3)]
    assert min(thirds) > 100, "old trials are as likely to be shown as newer ones"
    assert {running, running - 1} <= set(numbers)
    completed = memory.get_all_trials(STUDY, states=(OptunaState.COMPLETE,))
    completed.sort(key=lambda trial: trial.values[0], reverse=direction == "maximize")
    assert {trial.number for trial in completed[:BEST_SHOWN]} <= set(numbers)
    assert memory.good_and_others(-1)[0] == sorted(trial.number for trial in completed[:MOST_GOOD])


def test_the_good_ones_are_a_tenth_and_pruned_ones_come_after_all_others() -> None:
    memory = Memory(SPACE)
    study = optuna.create_study(storage=memory, direction="minimize")
    assert memory.good_and_others(0) == ([], [])
    for step, value in enumerate([3.0, 1.0, 1.0, 2.0, *[9.0] * 26]):
        complete = step < 2
        trial = optuna.trial.create_trial(
            state=OptunaState.COMPLETE if complete else OptunaState.PRUNED,
            value=value if complete else None,
            params={"x": 0.5, "y": 0.5},
            distributions=SPACE,
            intermediate_values={1: value},
        )
        study.add_trial(trial)
    running = memory.create_new_trial(STUDY)
    good, others = memory.good_and_others(running)
    assert good == [0, 1, 2], "both that completed, and of the pruned ones the best"
    assert others == list(range(3, 30))
    assert memory.good_and_others(-1)[1] == [*range(3, 30), running], "one that runs is none of the good ones"


def test_points_are_those_of_trials_that_have_all_of_the_parameters() -> None:
    memory = Memory(SPACE)
    study = optuna.create_study(storage=memory)
    for number in range(200):
        params = {"x": number / 200, "y": 0.5} if number % 2 else {"x": number / 200}
        study.add_trial(optuna.trial.create_trial(value=0.0, params=params, distributions={name: SPACE[name] for name in params}))
    running = memory.create_new_trial(STUDY)
    memory.set_trial_param(running, "y", 0.25, SPACE["y"])
    assert memory.points([0, 1, 4, running], ["x"], good=True).tolist() == [[0.0], [0.005], [0.02]]
    assert memory.points([0, 1, 199, running], ["y", "x"], good=True).tolist() == [[0.5, 0.005], [0.5, 0.995]]
    assert memory.points([], ["y", "x"], good=True).shape == (0, 2)


def test_a_failed_trial_is_not_shown_and_one_that_ends_later_is() -> None:
    memory, _ = memory_of(2 * MOST_SHOWN)
    failed, best = memory.create_new_trial(STUDY), memory.create_new_trial(STUDY)
    memory.set_trial_state_values(failed, OptunaState.FAIL)
    memory.set_trial_state_values(best, OptunaState.COMPLETE, [9.0])
    numbers = shown(memory)
    assert failed not in numbers and best in numbers


def test_what_is_shown_does_not_depend_on_the_order_in_which_trials_ended() -> None:
    live, replayed = Memory(SPACE), Memory(SPACE)
    optuna.create_study(storage=live, direction="maximize")
    rng = random.Random(2)
    trials = [ended(rng) for _ in range(2 * MOST_SHOWN)]
    for trial in trials:
        number = live.create_new_trial(STUDY)
        for name, value in trial.params.items():
            live.set_trial_param(number, name, value, SPACE[name])
    for number in rng.sample(range(len(trials)), len(trials)):
        live.set_trial_state_values(number, OptunaState.COMPLETE, trials[number].values)
    rebuilt = optuna.create_study(storage=replayed, direction="maximize")
    rebuilt.add_trials(trials)
    numbers = shown(live)
    assert live.good_and_others(-1) == replayed.good_and_others(-1)
    assert live.points(numbers, ["x", "y"], good=True).tolist() == replayed.points(numbers, ["x", "y"], good=True).tolist()


def test_a_trial_that_runs_again_leaves_no_trace_of_its_first_end() -> None:
    live, replayed = memory_of(2 * MOST_SHOWN)[0], memory_of(2 * MOST_SHOWN)[0]
    for memory in (live, replayed):
        number = memory.create_new_trial(STUDY)
        memory.set_trial_intermediate_value(number, 99_000, 9.0)  # so far ahead that it is among the best shown
    live.set_trial_state_values(number, OptunaState.PRUNED)
    assert number in shown(live)
    live.run_again(number)
    live.run_again(number)
    assert live.good_and_others(-1) == replayed.good_and_others(-1)
    for memory in (live, replayed):
        memory.set_trial_state_values(number, OptunaState.COMPLETE, [-5.0])
        for _ in range(BEST_SHOWN):
            memory.set_trial_state_values(memory.create_new_trial(STUDY), OptunaState.FAIL)
    assert live.good_and_others(-1) == replayed.good_and_others(-1)
    assert live.get_trial(number).values == [-5.0]
