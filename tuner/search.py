"""What to try next and what to give up: the only file that imports Optuna.

A `Search` is one study in Optuna's memory, built by replaying rows and kept up to date with every decision. Dropping
and rebuilding it leads to the same decisions (`tests/contracts/test_replay.py`), because all that samplers and pruners
remember goes into rows (`search_attrs`) and each draw's random seed comes from the study's seed and the trial's number.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState as OptunaState

from studies.definition import ParamValue
from studies.space import Choice, Fixed, FloatRange, IntRange, Parameter, Space, active
from tuner.pruning import Race
from tuner.records import MetricPoint, Study, Trial
from tuner.spec import RandomSampler, Sampler, direction_of, pruning_direction, space_of


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """Parameters for a new trial, and what the sampler wants to be told of it again."""

    params: Mapping[str, ParamValue]
    search_attrs: Mapping[str, Any]


class Search:
    """One study in Optuna's memory. Not thread-safe: used on the database's writer thread only."""

    def __init__(self, study: Study, trials: Sequence[Trial], reports: Mapping[int, Sequence[MetricPoint]]) -> None:
        """`trials` are all of the study by number, `reports` their validation scores of the pruner's metric by step."""
        self.spec = study.spec
        self.space = space_of(study.spec, study.facts.blocks)
        self._distributions = {name: _distribution(p) for name, p in self.space.items() if not isinstance(p, Fixed)}
        self.race = Race(study.spec.pruner, maximize=pruning_direction(study.spec) == "maximize")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # The storage is ours, so that trials can be reported to and judged by number without a live Trial object:
        # in a storage of one study, Optuna's trial id is the trial's number.
        self._storage = optuna.storages.InMemoryStorage()
        self._optuna = optuna.create_study(storage=self._storage, direction=direction_of(study.spec))
        for trial in trials:
            known = trial.as_first_ended
            points = [p for p in reports.get(trial.number, ()) if trial.extension is None or p.step <= (known.step or -1)]
            self._optuna.add_trial(self._frozen(known, points))
            self.race.enter(
                trial.number, [(resource(point), point.value) for point in points], trial.search_attrs, ended=known.finished
            )

    def ask(self, number: int, given: Mapping[str, ParamValue] | None = None) -> Suggestion:
        """Parameters for trial `number`, which must be the next one; those in `given` are taken as they are."""
        self._optuna.sampler = make_sampler(self.spec.sampler, self.space, draw_seed(self.spec.seed, number))
        if given:
            self._optuna.enqueue_trial({name: nearest_on_grid(self.space[name], value) for name, value in given.items()})
        trial = self._optuna.ask()
        if trial.number != number:
            raise RuntimeError(f"trial {number} was asked for, but the next one is {trial.number}")
        params: dict[str, ParamValue] = {}
        for name, parameter in self.space.items():
            if active(parameter, params):
                params[name] = (
                    parameter.value if isinstance(parameter, Fixed) else _suggest(trial, name, self._distributions[name])
                )
        return Suggestion(params=params, search_attrs=self._attrs(number))

    def report(self, number: int, resource: float, value: float) -> None:
        """Note a running trial's score after `resource` epochs."""
        self._storage.set_trial_intermediate_value(number, _as_step(resource), value)
        self.race.report(number, resource, value)

    def tell(self, trial: Trial) -> None:
        """Note how a trial ended, once."""
        state, value = ending_of(trial)
        values = None if value is None or state is not OptunaState.COMPLETE else [value]
        self._storage.set_trial_state_values(trial.number, state, values)
        self.race.end(trial.number)

    def _attrs(self, number: int) -> Mapping[str, Any]:
        return dict(self._storage.get_trial(number).system_attrs)

    def _frozen(self, trial: Trial, points: Sequence[MetricPoint]) -> optuna.trial.FrozenTrial:
        searched = {name: value for name, value in trial.params.items() if name in self._distributions}
        state, value = ending_of(trial)
        return optuna.trial.create_trial(
            state=state,
            value=value if state is OptunaState.COMPLETE else None,
            params=searched,
            distributions={name: self._distributions[name] for name in searched},
            intermediate_values={_as_step(resource(point)): point.value for point in points},
            system_attrs=dict(trial.search_attrs),
        )


def resource(point: MetricPoint) -> float:
    """What a pruner counts: epochs, or steps where a program reports no epochs."""
    return point.epoch if point.epoch is not None else float(point.step)


def _as_step(resource: float) -> int:
    """Epochs in the whole numbers that Optuna takes; samplers only look at which trial got further."""
    return round(resource * 1000)


def importances(study: Study, trials: Sequence[Trial]) -> dict[str, float]:
    """Share of the score's variance that each parameter explains among good trials (PED-ANOVA, Watanabe et al. 2023).

    Empty with fewer than two completed trials; largest first.
    """
    completed = [trial for trial in trials if trial.state == "completed" and trial.value is not None]
    if len(completed) < 2:
        return {}
    _hush()
    found: dict[str, float] = optuna.importance.get_param_importances(Search(study, completed, {})._optuna)
    return found


def make_sampler(sampler: Sampler, space: Space, seed: int) -> optuna.samplers.BaseSampler:
    if isinstance(sampler, RandomSampler):
        return optuna.samplers.RandomSampler(seed=seed)
    conditional = any(parameter.when for parameter in space.values())
    _hush()
    # `group` is what lets multivariate TPE handle conditions.
    return optuna.samplers.TPESampler(
        n_startup_trials=sampler.startup_trials, multivariate=True, group=conditional, constant_liar=True, seed=seed
    )


def draw_seed(study_seed: int, number: int) -> int:
    """The random seed of one draw: a sampler rebuilt with one fixed seed would return the same point each time."""
    return int.from_bytes(hashlib.sha256(f"draw {study_seed} {number}".encode()).digest()[:4], "big")


def _hush() -> None:
    """Optuna calls what we use experimental each time, and says of importances that few trials tell little."""
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", message="Some regimes for parameter|Target and region quantiles", category=UserWarning)


def nearest_on_grid(parameter: Parameter, value: ParamValue) -> ParamValue:
    """`value`, which lies in the parameter's range, moved to the closest of its steps."""
    if isinstance(value, str) or value is None or not isinstance(parameter, FloatRange | IntRange):
        return value
    if parameter.step is None:
        return float(value)
    return _after_steps(parameter, round((value - parameter.min) / parameter.step))


def on_grid(parameter: Parameter, value: ParamValue) -> bool:
    """Whether `value` is one of the parameter's steps, but for rounding."""
    nearest = nearest_on_grid(parameter, value)
    return nearest == value or (isinstance(nearest, float) and isinstance(value, float) and math.isclose(nearest, value))


def _after_steps(parameter: FloatRange | IntRange, steps: float) -> int | float:
    """The value so many steps above the smallest one, or the highest there is. In decimals, as Optuna counts: 3 × 0.1 is 0.3."""
    low, high, step = (Decimal(str(part)) for part in (parameter.min, parameter.max, parameter.step))
    reached = low + min(Decimal(steps), (high - low) // step) * step
    return int(reached) if isinstance(parameter, IntRange) else float(reached)


def _suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> ParamValue:
    if isinstance(distribution, CategoricalDistribution):
        value: ParamValue = trial.suggest_categorical(name, distribution.choices)
        return value
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
    assert isinstance(distribution, FloatDistribution)
    return trial.suggest_float(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


def _distribution(parameter: FloatRange | IntRange | Choice) -> BaseDistribution:
    if isinstance(parameter, Choice):
        return CategoricalDistribution(parameter.values)
    # Optuna warns where the last step does not meet the end of the range: end it there.
    if isinstance(parameter, IntRange):
        high = int(_after_steps(parameter, math.inf))
        return IntDistribution(parameter.min, high, step=parameter.step, log=parameter.log)
    top = parameter.max if parameter.step is None else _after_steps(parameter, math.inf)
    return FloatDistribution(parameter.min, top, step=parameter.step, log=parameter.log)


def ending_of(trial: Trial) -> tuple[OptunaState, float | None]:
    """A trial's state in Optuna's terms. One that waits already has its parameters, so it counts as running."""
    if trial.state == "completed" and trial.value is not None:
        return OptunaState.COMPLETE, trial.value
    if trial.state in ("pruned", "stopped"):
        return OptunaState.PRUNED, trial.value
    if trial.state == "failed":
        # Told as failed, a configuration that ran out of memory would be forgotten and drawn again and again.
        return (OptunaState.PRUNED if trial.failure_kind in ("oom", "nan") else OptunaState.FAIL), None
    return OptunaState.RUNNING, None
