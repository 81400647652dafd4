from __future__ import annotations

import random
import time

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from studies.definition import Direction
from tuner.search_memory import BEST_SHOWN, MOST_SHOWN, STUDY, Memory

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
    rng, memory = random.Random(1), Memory()
    study = optuna.create_study(storage=memory, direction=direction)
    for number in range(trials):
        study.add_trial(ended(rng, OptunaState.PRUNED if number % 3 == 2 else OptunaState.COMPLETE))
    return memory, study


def shown(memory: Memory) -> list[FrozenTrial]:
    with memory.narrowed():
        return memory.get_all_trials(STUDY, deepcopy=False)


def draw(study: optuna.Study, memory: Memory, number: int, *, narrow: bool) -> dict[str, float]:
    sampler = optuna.samplers.TPESampler(seed=number, multivariate=True, constant_liar=True)
    fresh = optuna.load_study(study_name=study.study_name, storage=memory)
    if not narrow:
        return sampler.sample_relative(fresh, memory.get_trial(number), SPACE)
    with memory.narrowed():
        return sampler.sample_relative(fresh, memory.get_trial(number), SPACE)


def test_few_trials_are_all_shown() -> None:
    memory, _ = memory_of(MOST_SHOWN)
    assert shown(memory) == memory.get_all_trials(STUDY)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_of_many_the_best_the_newest_and_the_running_ones_are_shown(direction: Direction) -> None:
    memory, _ = memory_of(3 * MOST_SHOWN, direction=direction)
    running = memory.create_new_trial(STUDY)
    numbers = [trial.number for trial in shown(memory)]
    assert numbers == sorted(set(numbers))
    assert MOST_SHOWN - 2 * BEST_SHOWN <= len(numbers) <= MOST_SHOWN + 1
    thirds = [sum(MOST_SHOWN * third <= number < MOST_SHOWN * (third + 1) for number in numbers) for third in range(3)]
    assert min(thirds) > 100, "old trials are as likely to be shown as newer ones"
    assert {running, running - 1} <= set(numbers)
    completed = memory.get_all_trials(STUDY, states=(OptunaState.COMPLETE,))
    completed.sort(key=lambda trial: trial.values[0], reverse=direction == "maximize")
    assert {trial.number for trial in completed[:BEST_SHOWN]} <= set(numbers)


def test_a_failed_trial_is_not_shown_and_one_that_ends_later_is() -> None:
    memory, _ = memory_of(2 * MOST_SHOWN)
    failed, best = memory.create_new_trial(STUDY), memory.create_new_trial(STUDY)
    memory.set_trial_state_values(failed, OptunaState.FAIL)
    memory.set_trial_state_values(best, OptunaState.COMPLETE, [9.0])
    numbers = {trial.number for trial in shown(memory)}
    assert failed not in numbers and best in numbers


def test_states_are_told_apart_in_a_selection_too() -> None:
    memory, _ = memory_of(2 * MOST_SHOWN)
    with memory.narrowed():
        pruned = memory.get_all_trials(STUDY, states=(OptunaState.PRUNED,))
    assert pruned and {trial.state for trial in pruned} == {OptunaState.PRUNED}


def test_what_is_shown_does_not_depend_on_the_order_in_which_trials_ended() -> None:
    live, replayed = Memory(), Memory()
    study = optuna.create_study(storage=live, direction="maximize")
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
    assert [trial.number for trial in shown(live)] == [trial.number for trial in shown(replayed)]
    number = live.create_new_trial(STUDY)
    assert replayed.create_new_trial(STUDY) == number
    assert draw(study, live, number, narrow=True) == draw(rebuilt, replayed, number, narrow=True)


def test_tpe_still_draws_close_to_the_best_and_in_much_less_time() -> None:
    memory, study = memory_of(6 * MOST_SHOWN)
    numbers = [memory.create_new_trial(STUDY) for _ in range(8)]
    costs = {}
    for narrow in (True, False):
        began = time.process_time()
        points = [draw(study, memory, number, narrow=narrow) for number in numbers]
        costs[narrow] = time.process_time() - began
        assert sum(abs(p["x"] - 0.3) + abs(p["y"] - 0.6) for p in points) / len(points) < 0.2
    assert costs[True] < costs[False] / 2


def test_a_trial_that_runs_again_leaves_no_trace_of_its_first_end() -> None:
    live, replayed = memory_of(2 * MOST_SHOWN)[0], memory_of(2 * MOST_SHOWN)[0]
    for memory in (live, replayed):
        number = memory.create_new_trial(STUDY)
        memory.set_trial_intermediate_value(number, 99_000, 9.0)  # so far ahead that it is among the best shown
    live.set_trial_state_values(number, OptunaState.PRUNED)
    assert number in [trial.number for trial in shown(live)]
    live.run_again(number)
    live.run_again(number)
    assert [trial.state for trial in shown(live)] == [trial.state for trial in shown(replayed)]
    assert [trial.number for trial in shown(live)] == [trial.number for trial in shown(replayed)]
    for memory in (live, replayed):
        memory.set_trial_state_values(number, OptunaState.COMPLETE, [-5.0])
        for _ in range(BEST_SHOWN):
            memory.set_trial_state_values(memory.create_new_trial(STUDY), OptunaState.FAIL)
    assert [trial.number for trial in shown(live)] == [trial.number for trial in shown(replayed)]
    assert live.get_trial(number).values == [-5.0]
