from __future__ import annotations

import math
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from tuner.search_memory import MOST_SHOWN, STUDY, Memory
from tuner.search_tpe import Density, Tpe, weights_of

SPACE: dict[str, BaseDistribution] = {
    "rate": FloatDistribution(1e-6, 1e-2, log=True),
    "decay": FloatDistribution(0.0, 0.3),
    "size": CategoricalDistribution([8, 16, 32]),
    "frozen": IntDistribution(0, 6),
    "width": IntDistribution(1, 500, log=True),
    "drop": FloatDistribution(0.0, 1.0, step=0.25),
}


def score(params: dict[str, Any]) -> float:
    far = abs(math.log10(params["rate"]) + 4) + abs(params["decay"] - 0.1) + abs(params["frozen"] - 2) / 6
    return float(-far - abs(math.log10(params["width"]) - 2) - abs(params["drop"] - 0.5) - 0.3 * (params["size"] != 16))


def played(trials: int, *, seed: int = 0) -> tuple[Memory, optuna.Study]:
    """A study of random trials, and one more that runs."""
    memory = Memory(SPACE)
    study = optuna.create_study(storage=memory, direction="maximize", sampler=optuna.samplers.RandomSampler(seed))
    for _ in range(trials):
        trial = study.ask(SPACE)
        study.tell(trial, score(trial.params))
    memory.create_new_trial(STUDY)
    return memory, study


def draw(memory: Memory, study: optuna.Study, *, seed: int, startup: int = 10) -> dict[str, Any]:
    number = len(memory.get_all_trials(STUDY, deepcopy=False)) - 1
    return Tpe(memory, seed=seed, startup_trials=startup).sample_relative(study, memory.get_trial(number), SPACE)


def coordinates(params: dict[str, Any]) -> list[float]:
    logs = {name: math.log10(params[name]) for name in ("rate", "width")}
    return [float(value) for value in {**params, **logs, "size": params["size"] == 16}.values()]


def test_what_was_good_elsewhere_is_looked_at_from_the_first_draw_on_until_the_study_knows_better() -> None:
    memory, study = played(0)
    elsewhere, _ = played(40, seed=5)
    ranked = sorted(elsewhere.get_all_trials(STUDY, deepcopy=False)[:40], key=lambda trial: -trial.values[0])
    at_random = np.mean([trial.values[0] for trial in ranked])
    assert draw(memory, study, seed=1) == {}, "nothing is known yet"

    def mean_score() -> float:
        return float(np.mean([score(draw(memory, study, seed=seed)) for seed in range(60)]))

    for rank, trial in enumerate(ranked):
        memory.relate(trial, good=rank < 4)
    assert mean_score() > at_random + 0.5

    memory, study = played(0)
    for rank, trial in enumerate(reversed(ranked)):
        memory.relate(trial, good=rank < 4)
    misled = mean_score()
    assert misled < at_random
    memory.remember(ranked)
    assert mean_score() > misled + 0.5


def test_draws_lie_as_those_of_optunas_sampler_do() -> None:
    memory, study = played(30)
    number = len(memory.get_all_trials(STUDY, deepcopy=False)) - 1
    ours, theirs = [], []
    for seed in range(100):
        ours.append(coordinates(draw(memory, study, seed=seed)))
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        theirs.append(coordinates(sampler.sample_relative(study, memory.get_trial(number), SPACE)))
    for name, one, other in zip(SPACE, np.array(ours).T, np.array(theirs).T, strict=True):
        # Of two samples of one distribution the means lie so far apart in one of 10,000 cases.
        assert abs(one.mean() - other.mean()) <= 3.9 * math.sqrt((one.var() + other.var()) / 100), name
        if name in ("rate", "decay", "width"):
            assert 0.6 < one.std() / other.std() < 1.6, name


def test_values_are_of_the_space() -> None:
    memory, study = played(40)
    for seed in range(100):
        params = draw(memory, study, seed=seed)
        assert 1e-6 <= params["rate"] <= 1e-2 and 0 <= params["decay"] <= 0.3
        assert params["size"] in (8, 16, 32) and params["drop"] in (0, 0.25, 0.5, 0.75, 1)
        assert params["frozen"] in range(7) and params["width"] in range(1, 501)
        assert isinstance(params["frozen"], int) and isinstance(params["rate"], float)


def test_draws_come_close_to_the_best_in_a_long_study_too() -> None:
    memory, study = played(2 * MOST_SHOWN)
    random_ones = [score({name: d.to_external_repr(v) for name, (d, v) in one.items()}) for one in at_random(50)]
    drawn = [score(draw(memory, study, seed=seed)) for seed in range(50)]
    assert np.median(drawn) > np.quantile(random_ones, 0.95)


def at_random(count: int) -> list[dict[str, tuple[BaseDistribution, float]]]:
    density, rng = Density(SPACE, np.empty((0, len(SPACE)))), np.random.default_rng(1)
    return [dict(zip(SPACE, zip(SPACE.values(), row, strict=True), strict=True)) for row in density.sample(rng, count).tolist()]


def test_a_draw_depends_on_its_seed_and_on_what_is_known_only() -> None:
    (memory, study), (other, same) = played(40), played(40)
    assert draw(memory, study, seed=1) == draw(other, same, seed=1)
    assert draw(memory, study, seed=1) != draw(memory, study, seed=2)


def test_nothing_is_drawn_together_before_so_many_trials_have_ended() -> None:
    memory, study = played(9)
    assert draw(memory, study, seed=1) == {}
    assert draw(memory, study, seed=1, startup=9).keys() == SPACE.keys()
    assert draw(*played(0), seed=1, startup=0).keys() == SPACE.keys()


def test_the_newest_count_fully_and_the_oldest_hardly() -> None:
    assert weights_of(0).tolist() == []
    assert weights_of(25).tolist() == [1.0] * 25
    assert weights_of(28).tolist() == pytest.approx([1 / 28, (1 + 1 / 28) / 2, 1.0, *[1.0] * 25])


@pytest.mark.parametrize("name", SPACE)
def test_a_density_is_one_over_all_values(name: str) -> None:
    """Over the values of a discrete parameter its probabilities add up to one, over a range its integral does."""
    space = {name: SPACE[name]}
    values = np.array([row[name][1] for row in at_random(30)])[:, None]
    density = Density(space, values)
    distribution = SPACE[name]
    if isinstance(distribution, CategoricalDistribution):
        everywhere, width = np.arange(3.0), 1.0
    elif isinstance(distribution, FloatDistribution) and distribution.step is None:
        low, high = (math.log(x) if distribution.log else x for x in (distribution.low, distribution.high))
        places = np.linspace(low, high, 20_001)
        everywhere, width = np.exp(places) if distribution.log else places, (high - low) / 20_001 / math.sqrt(2 * math.pi)
    else:
        assert isinstance(distribution, IntDistribution | FloatDistribution) and distribution.step is not None
        everywhere, width = np.arange(distribution.low, distribution.high + distribution.step / 2, distribution.step), 1.0
    assert np.exp(density.log_at(everywhere[:, None])).sum() * width == pytest.approx(1.0, rel=2e-3)
