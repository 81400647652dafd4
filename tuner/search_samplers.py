"""How each sampler proposes a configuration: a function of what the search's memory holds, and of one draw's seed.

Optuna's own samplers are asked through their public interface, a group of parameters at a time. Grid, QMC and CMA-ES
are ours: what they remember is numbers in a trial's `search_attrs`, never a pickle.
"""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from studies.configurations import Configuration, all_of, from_cube, from_unit, to_unit
from studies.constraints import Constraint
from studies.definition import ParamValue
from studies.space import Fixed, FloatRange, IntRange, Parameter, Space, active
from tuner.samplers import (
    CmaEsSampler,
    GpSampler,
    GridSampler,
    Nsga2Sampler,
    Nsga3Sampler,
    QmcSampler,
    RandomSampler,
    Sampler,
    TpeSampler,
)
from tuner.search_gp import gp_draw
from tuner.search_memory import Memory
from tuner.search_tpe import Tpe

Key = tuple[tuple[str, ParamValue], ...]


def key_of(params: Mapping[str, ParamValue]) -> Key:
    """What makes two configurations the same one."""
    return tuple(sorted(params.items()))


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One try to find a configuration: where to look, and by chance of which seed."""

    space: Space
    constraints: Sequence[Constraint]
    open: Mapping[str, BaseDistribution]  # the parameters with more than one value
    memory: Memory
    optuna: optuna.Study  # the memory as samplers look at it
    trial: int  # the trial that the draw is for, as the memory numbers it
    study_seed: int
    seed: int
    given: Mapping[str, ParamValue]  # parameters that need not be drawn
    tried: Counter[Key]  # how often each configuration was tried before
    made: Mapping[str, Mapping[str, ParamValue]]  # draws that take long and were made before, by what they are a function of

    def note(self, name: str, value: Any) -> None:
        """Keep something in the trial's `search_attrs`."""
        self.memory.set_trial_system_attr(self.trial, name, value)

    def noted(self, name: str) -> list[tuple[FrozenTrial, Any]]:
        """What earlier trials keep under a name, by number."""
        others = self.memory.get_all_trials(0, deepcopy=False)
        return [(trial, trial.system_attrs[name]) for trial in others if trial.number < self.trial and name in trial.system_attrs]


Proposer = Callable[[Draw], Configuration]


def make_proposer(sampler: Sampler) -> Proposer:
    """The function that draws for this sampler."""
    if isinstance(sampler, GridSampler):
        return GridProposer(sampler.order)
    if isinstance(sampler, QmcSampler):
        return qmc_point
    if isinstance(sampler, CmaEsSampler):
        return lambda draw: cma_es(draw, sampler.population)
    if isinstance(sampler, GpSampler):
        return lambda draw: by_groups(draw, optuna.samplers.RandomSampler(seed=draw.seed), gp_draw(draw, sampler.startup_trials))
    return lambda draw: by_groups(draw, make_sampler(sampler, draw), None)


def make_sampler(sampler: Sampler, draw: Draw) -> optuna.samplers.BaseSampler:
    """A sampler for one draw: Optuna's, but for TPE with one objective."""
    seed = draw.seed
    if isinstance(sampler, TpeSampler) and len(draw.optuna.directions) == 1:
        return Tpe(draw.memory, seed=seed, startup_trials=sampler.startup_trials)
    hush()
    if isinstance(sampler, Nsga2Sampler):
        return optuna.samplers.NSGAIISampler(population_size=sampler.population, seed=seed)
    if isinstance(sampler, Nsga3Sampler):
        return optuna.samplers.NSGAIIISampler(population_size=sampler.population, seed=seed)
    if isinstance(sampler, RandomSampler):
        return optuna.samplers.RandomSampler(seed=seed)
    startup = getattr(sampler, "startup_trials", 10)
    return optuna.samplers.TPESampler(n_startup_trials=startup, multivariate=True, constant_liar=True, seed=seed)


def by_groups(draw: Draw, sampler: optuna.samplers.BaseSampler, joint: Mapping[str, ParamValue] | None) -> Configuration:
    """Walk the space, parents first; parameters under one condition are drawn together, if the sampler can.

    `joint`: what has been drawn together before.
    """
    trial = draw.memory.get_trial(draw.trial)
    drawn: dict[str, ParamValue] = dict(joint or {})
    asked: set[Any] = set() if joint is None else {()}
    params: Configuration = {}
    for name, parameter in draw.space.items():
        if not active(parameter, params):
            continue
        group = tuple(sorted(parameter.when.items()))
        if name in draw.open and name not in draw.given and group not in asked and _draws_groups(sampler, group):
            asked.add(group)
            together = {n: d for n, d in draw.open.items() if tuple(sorted(draw.space[n].when.items())) == group}
            drawn.update(sampler.sample_relative(draw.optuna, trial, together))
        params[name] = _value(draw, sampler, trial, name, drawn)
    return params


def _draws_groups(sampler: optuna.samplers.BaseSampler, group: object) -> bool:
    """Genetic algorithms cross whole trials, so that only what every trial has can be crossed."""
    return not isinstance(sampler, optuna.samplers.NSGAIISampler | optuna.samplers.NSGAIIISampler) or group == ()


def _value(
    draw: Draw,
    sampler: optuna.samplers.BaseSampler,
    trial: FrozenTrial,
    name: str,
    drawn: Mapping[str, ParamValue],
) -> ParamValue:
    if name in draw.given:
        return draw.given[name]
    if name not in draw.open:
        return only_value(draw.space[name])
    if name in drawn:
        return drawn[name]
    value: ParamValue = sampler.sample_independent(draw.optuna, trial, name, draw.open[name])
    return value


def only_value(parameter: Parameter) -> ParamValue:
    """The value of a parameter that has just one."""
    return parameter.value if isinstance(parameter, Fixed) else from_unit(parameter, 0.0)


class GridProposer:
    """The first configuration of the grid that was tried least often."""

    def __init__(self, order: str) -> None:
        self._order = order
        self._grid: list[Configuration] = []
        self._round = 0  # all were tried so often …
        self._next = 0  # … and those before this one once more

    def __call__(self, draw: Draw) -> Configuration:
        if not self._grid:
            self._grid = all_of(draw.space, draw.constraints) or []
            if self._order == "seeded":
                random.Random(draw.study_seed).shuffle(self._grid)
        if draw.given:
            fitting = [found for found in self._grid if found.items() >= draw.given.items()]
            return min(fitting, key=lambda found: draw.tried[key_of(found)], default=from_cube(draw.space, {}, draw.given))
        while draw.tried[key_of(self._grid[self._next])] > self._round:
            self._next += 1
            if self._next == len(self._grid):
                self._round, self._next = self._round + 1, 0
        return dict(self._grid[self._next])


def qmc_point(draw: Draw) -> Configuration:
    """The next point of a Sobol sequence that the study's seed scrambles, one coordinate a parameter."""
    from scipy.stats import qmc  # slow to import, and few studies need it

    past = [index for _, index in draw.noted("qmc")]
    index = max([draw.memory.get_trial(draw.trial).system_attrs.get("qmc", -1), *past], default=-1) + 1
    draw.note("qmc", index)
    sequence = qmc.Sobol(max(len(draw.open), 1), scramble=True, rng=np.random.default_rng(draw.study_seed))
    if index:
        sequence.fast_forward(index)
    point = dict(zip(draw.open, sequence.random(1)[0].tolist(), strict=False))
    return from_cube(draw.space, point, draw.given)


def cma_es(draw: Draw, population: int | None) -> Configuration:
    """One point of CMA-ES's current generation.

    A trial keeps the generation it belongs to, and the first one of a generation the trials that the optimiser was told
    before it: so the optimiser is made again from rows, whatever else has ended meanwhile.
    """
    import cmaes  # slow to import, and few studies need it

    ranges = {name: parameter for name in draw.open if isinstance(parameter := draw.space[name], FloatRange | IntRange)}
    optimizer = cmaes.CMA(
        mean=np.full(len(ranges), 0.5),
        sigma=1 / 6,
        bounds=np.array([[0.0, 1.0]] * len(ranges)),
        n_max_resampling=100,
        seed=draw.study_seed % 2**32,
        population_size=population,
    )
    trials = draw.memory.get_all_trials(0, deepcopy=False)
    generations = [told for _, told in draw.noted("cma_told")]
    for told in generations:
        if all(trials[number].params for number in told):  # a generation that an edited space cut is told no more
            optimizer.tell([_solution(draw, ranges, trials[number]) for number in told])
    generation = len(generations)
    members = [t for t, g in draw.noted("cma_generation") if g == generation and t.state is OptunaState.COMPLETE and t.params]
    if len(members) >= optimizer.population_size:
        told = [trial.number for trial in members[: optimizer.population_size]]
        optimizer.tell([_solution(draw, ranges, trials[number]) for number in told])
        draw.note("cma_told", told)
        generation += 1
    draw.note("cma_generation", generation)
    optimizer.reseed_rng(draw.seed)
    point = dict(zip(ranges, optimizer.ask().tolist(), strict=True))
    return from_cube(draw.space, point, draw.given)


def _solution(
    draw: Draw, ranges: Mapping[str, FloatRange | IntRange], trial: FrozenTrial
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], float]:
    sign = -1.0 if draw.optuna.direction is optuna.study.StudyDirection.MAXIMIZE else 1.0
    point = [min(max(to_unit(parameter, trial.params.get(name, parameter.min)), 0.0), 1.0) for name, parameter in ranges.items()]
    # A trial whose value is infinitely bad would make every number of the optimiser infinite too.
    return np.array(point), float(np.clip(sign * (trial.value or 0.0), -1e300, 1e300))


def hush() -> None:
    """Optuna calls what we use experimental each time, and says of importances that few trials tell little."""
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", message="Some regimes for parameter|Target and region quantiles", category=UserWarning)
