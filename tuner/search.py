"""What to try next and what to give up; with its siblings `search_*.py` the only file that imports Optuna.

A `Search` is one study in Optuna's memory, built by replaying rows and kept up to date with every decision. Dropping
and rebuilding it leads to the same decisions (`tests/contracts/test_replay.py`), because all that samplers and pruners
remember goes into rows (`search_attrs`) and each draw's random seed comes from the study's seed and the trial's number.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from studies.catalog import definition as catalog_definition
from studies.configurations import Configuration, all_of, allowed_count, allowed_example, fits
from studies.configurations import draw as draw_at_random
from studies.constraints import all_hold
from studies.definition import ParamValue
from studies.errors import InvalidInput
from studies.space import Choice, Fixed, FloatRange, IntRange, active, after_steps, contains, nearest_on_grid, on_grid
from tuner.memory_guard import MemoryGuard
from tuner.objectives import scores
from tuner.pruning import Race
from tuner.records import MetricPoint, Prior, Study, Trial
from tuner.samplers import GpSampler
from tuner.search_gp import gp_request
from tuner.search_memory import STUDY, Memory, Remembered
from tuner.search_samplers import Draw, Key, hush, key_of, make_proposer, only_value
from tuner.spec import constraints_of, objectives_of, pruning_direction, space_of

Draws = Mapping[str, Mapping[str, ParamValue]]  # request for `search_gp.make` → what was drawn
NO_DRAWS: Draws = MappingProxyType({})
_DRAWS = 30  # asked of the sampler for one trial …
_LOOKED_THROUGH = 2_000
_RANDOM_DRAWS = 10_000  # … and then at random, before a configuration that is known to be allowed is taken


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """Parameters for a new trial, and what the sampler wants to be told of it again."""

    params: Mapping[str, ParamValue]
    search_attrs: Mapping[str, Any]
    study_attrs: Mapping[str, Any] = field(default_factory=dict)  # likewise, of the study as a whole


class Search:
    """One study in Optuna's memory. Not thread-safe: used on the database's writer thread only."""

    def __init__(
        self,
        study: Study,
        trials: Sequence[Trial],
        reports: Mapping[int, Sequence[MetricPoint]],
        priors: Sequence[Prior] = (),
    ) -> None:
        """`trials` are all of the study by number, `reports` their validation scores of the pruner's metric by step.

        `priors` are trials of earlier studies, known to the sampler only, and of those of other problems only to TPE.
        """
        self.spec = study.spec
        self.space = space_of(study.spec, study.facts.blocks)
        self.constraints = constraints_of(study.spec, self.space, study.facts.blocks)
        self._distributions = {name: distribution_of(p) for name, p in self.space.items() if not isinstance(p, Fixed)}
        self.race = Race(study.spec.pruner, maximize=pruning_direction(study.spec) == "maximize")
        self._open = {name: distribution for name, distribution in self._distributions.items() if not distribution.single()}
        self._propose = make_proposer(study.spec.sampler)
        self._tried: Counter[Key] = Counter()
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # it warns of each parameter drawn by itself
        # The storage is ours, so that trials can be reported to by number without a live Trial object: in a storage of one
        # study, Optuna's trial id is the trial's number after those of earlier studies.
        self._offset = sum(prior.good is None for prior in priors)
        self._storage = Memory(self._distributions)
        self._directions = [objective.direction or "maximize" for objective in objectives_of(study.spec)]
        self._optuna = optuna.create_study(storage=self._storage, directions=self._directions)
        for name, value in study.search_attrs.items():
            self._storage.set_study_system_attr(STUDY, name, value)
        self._defaults = catalog_definition(study.spec.task).completed({})
        self.memory = MemoryGuard(self._defaults, study.facts.blocks)
        remembered: list[FrozenTrial] = []
        for prior in priors:
            frozen = self._frozen(prior.params, OptunaState.COMPLETE, [prior.value])
            if prior.good is None:
                remembered.append(frozen)
            elif frozen.state is OptunaState.COMPLETE:
                self._storage.relate(frozen, good=prior.good)
        self._outside: set[int] = set()  # trials that the present space does not contain
        for trial in trials:
            known = trial.as_first_ended
            points = [p for p in reports.get(trial.number, ()) if trial.extension is None or p.step <= (known.step or -1)]
            frozen = self._frozen(known.params, *self._ending(known), points, known.search_attrs)
            remembered.append(frozen)
            if frozen.state is OptunaState.FAIL:
                self._outside.add(trial.number)
            self.race.enter(known, [(resource(point), point.value) for point in points])
            self.memory.note(known)
            if fits(self.space, trial.params):
                self._tried[key_of(trial.params)] += 1
        self._storage.remember(remembered)

    def ask(self, number: int, given: Mapping[str, ParamValue] | None = None, made: Draws = NO_DRAWS) -> Suggestion:
        """Parameters for trial `number`, which must be the next one; those in `given` are taken as they are.

        `made`: draws that `draw_to_make` asked for. What breaks a constraint, or was tried as often as it may be, is never
        answered but drawn again. Raises InvalidInput if what is given leaves no configuration that fulfils the constraints.
        """
        trial = self._storage.create_new_trial(STUDY)
        if trial != number + self._offset:
            raise RuntimeError(f"trial {number} was asked for, but the next one is {trial - self._offset}")
        wanted = {name: nearest_on_grid(self.space[name], value) for name, value in (given or {}).items()}
        params = self._draw(trial, wanted, made)
        for name, value in params.items():
            if name in self._distributions:
                distribution = self._distributions[name]
                self._storage.set_trial_param(trial, name, distribution.to_internal_repr(value), distribution)
        self._tried[key_of(params)] += 1
        study_attrs = dict(self._storage.get_study_system_attrs(STUDY))
        return Suggestion(params=params, search_attrs=self._attrs(number), study_attrs=study_attrs)

    @property
    def draws_long(self) -> bool:
        """Whether a draw may take so long that it is better made elsewhere, as `draw_to_make` tells."""
        return isinstance(self.spec.sampler, GpSampler)

    def draw_to_make(self, number: int, given: Mapping[str, ParamValue], made: Draws = NO_DRAWS) -> str | None:
        """What `search_gp.make` must draw before trial `number`, the next one, can be asked for at once; None: nothing.

        `given` are parameters that it is to have, `made` draws that were made for it and may not be run. Nothing is changed by
        asking.
        """
        sampler = self.spec.sampler
        if not isinstance(sampler, GpSampler):
            return None
        tries = (self._try_at(number + self._offset, attempt, given, made) for attempt in range(_DRAWS))
        return next((r for t in tries if (r := gp_request(t, sampler.startup_trials)) is None or r not in made), None)

    def if_drawn(self, drawn: Mapping[str, ParamValue]) -> Configuration | None:
        """The configuration that `search_gp` drew, if it may be run now: the space may be another one since, or it was tried."""
        if drawn.keys() != self._open.keys():
            return None
        params = {name: nearest_on_grid(p, drawn[name]) if name in drawn else only_value(p) for name, p in self.space.items()}
        return params if fits(self.space, params) and self._acceptable(params, {}) else None

    def exhausted(self) -> str | None:
        """Why no configuration is left, in words for people; None if there is one (or no end of them)."""
        size = self._size
        if size is None:
            return None
        repeats = self.spec.sampler.repeats
        # Of a small space each is looked at, because one that would run out of memory will not be tried either.
        if size > _LOOKED_THROUGH and sum(self._tried.values()) < size * repeats:
            return None
        if any(self._acceptable(params, {}) for params in self._everything or ()):
            return None
        if self._everything is None:
            return None
        return f"all {size} configurations of the space were tried" + (f" {repeats} times" if repeats > 1 else "")

    @cached_property
    def _size(self) -> int | None:
        return allowed_count(self.space, self.constraints)

    @cached_property
    def _everything(self) -> list[Configuration] | None:
        return all_of(self.space, self.constraints)

    def _draw(self, trial: int, given: Mapping[str, ParamValue], made: Draws) -> Configuration:
        for attempt in range(_DRAWS):
            params = self._propose(self._try_at(trial, attempt, given, made))
            if self._acceptable(params, given):
                return params
        return self._rescue(trial, given)

    def _try_at(self, trial: int, attempt: int, given: Mapping[str, ParamValue], made: Draws) -> Draw:
        return Draw(
            space=self.space,
            constraints=self.constraints,
            open=self._open,
            memory=self._storage,
            # A new object for each draw: Optuna's own remembers the trials that it has seen first.
            optuna=optuna.load_study(study_name=self._optuna.study_name, storage=self._storage),
            trial=trial,
            study_seed=self.spec.seed,
            seed=draw_seed(self.spec.seed, trial, attempt),
            given=given,
            tried=self._tried,
            made=made,
        )

    def _acceptable(self, params: Configuration, given: Mapping[str, ParamValue]) -> bool:
        if not all_hold(self.constraints, params):
            return False
        # Who gives every parameter wants just this configuration, tried or not.
        if params.keys() <= given.keys() | self._fixed:
            return True
        return self._tried[key_of(params)] < self.spec.sampler.repeats and not self.memory.refuses(params)

    @cached_property
    def _fixed(self) -> set[str]:
        return self.space.keys() - self._open.keys()

    def _rescue(self, trial: int, given: Mapping[str, ParamValue]) -> Configuration:
        """For when the sampler finds nothing acceptable: any configuration that is left, else random points, else a known one."""
        rng = random.Random(draw_seed(self.spec.seed, trial, _DRAWS))
        fitting = [found for found in self._everything or [] if found.items() >= given.items()]
        left = [found for found in fitting if self._acceptable(found, given)]
        if left or fitting:
            return dict(rng.choice(left or fitting))
        for _ in range(_RANDOM_DRAWS):
            params = draw_at_random(self.space, rng, given)
            if self._acceptable(params, given):
                return params
        narrowed = {name: Fixed(value=given[name], when=p.when) if name in given else p for name, p in self.space.items()}
        example = allowed_example(narrowed, self.constraints)
        if example is None:
            raise InvalidInput.at("params", f"no value of the other parameters fulfils {' and '.join(self.spec.constraints)}")
        return example

    def report(self, number: int, resource: float, value: float) -> None:
        """Note a running trial's score after `resource` epochs."""
        if number not in self._outside and len(self._directions) == 1:
            self._storage.set_trial_intermediate_value(number + self._offset, _as_step(resource), value)
        self.race.report(number, resource, value)

    def tell(self, trial: Trial) -> None:
        """Note how a trial ended, once."""
        self.race.end(trial)
        self.memory.note(trial)
        if trial.number in self._outside:
            return
        state, values = self._ending(trial)
        self._storage.run_again(trial.number + self._offset)
        self._storage.set_trial_state_values(trial.number + self._offset, state, values)

    def _ending(self, trial: Trial) -> tuple[OptunaState, Sequence[float] | None]:
        """A trial's state, and its scores if it has completed."""
        state, value = ending_of(trial)
        if state is not OptunaState.COMPLETE or value is None:
            return state, None
        found = scores(self.spec, trial)
        return (state, found) if found is not None else (OptunaState.FAIL, None)

    def set_aside(self, number: int) -> None:
        """A running trial waits to be promoted: to the sampler, for the time being, as good as pruned."""
        if number not in self._outside:
            self._storage.set_trial_state_values(number + self._offset, OptunaState.PRUNED)

    def go_on(self, number: int) -> None:
        """A trial that was set aside runs again."""
        self.race.go_on(number)
        if number not in self._outside:
            self._storage.run_again(number + self._offset)

    def _attrs(self, number: int) -> Mapping[str, Any]:
        return dict(self._storage.get_trial(number + self._offset).system_attrs)

    def _frozen(
        self,
        params: Mapping[str, ParamValue],
        state: OptunaState,
        values: Sequence[float] | None,
        points: Sequence[MetricPoint] = (),
        search_attrs: Mapping[str, Any] = MappingProxyType({}),
    ) -> Remembered:
        """A trial as the sampler knows it: under the present space, whichever it was drawn from.

        A parameter that was not searched then had its default. A trial outside the present space only holds its place.
        """
        searched: dict[str, ParamValue] = {}
        known: dict[str, ParamValue] = {}
        for name, parameter in self.space.items():
            if not active(parameter, known):
                continue
            known[name] = params[name] if name in params else self._defaults[name]
            if not contains(parameter, known[name]) or not on_grid(parameter, known[name]):
                return Remembered(state=OptunaState.FAIL)
            if name in self._distributions:
                searched[name] = nearest_on_grid(parameter, known[name])
        return Remembered(
            state=state,
            values=values,
            params=searched,
            distributions={name: self._distributions[name] for name in searched},
            # Optuna knows no reports of several objectives: what was pruned counts as worse than what was not, no more.
            intermediate_values={_as_step(resource(p)): p.value for p in points if len(self._directions) == 1},
            system_attrs=search_attrs,
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
    hush()
    alone = replace(study, spec=study.spec.model_copy(update={"further_objectives": []}))
    found: dict[str, float] = optuna.importance.get_param_importances(Search(alone, completed, {})._optuna)
    return found


def draw_seed(study_seed: int, number: int, attempt: int = 0) -> int:
    """The random seed of one draw: a sampler rebuilt with one fixed seed would return the same point each time."""
    text = f"draw {study_seed} {number}" + (f" {attempt}" if attempt else "")
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def distribution_of(parameter: FloatRange | IntRange | Choice) -> BaseDistribution:
    if isinstance(parameter, Choice):
        return CategoricalDistribution(parameter.values)
    # Optuna warns where the last step does not meet the end of the range: end it there.
    if isinstance(parameter, IntRange):
        high = int(after_steps(parameter, math.inf))
        return IntDistribution(parameter.min, high, step=parameter.step, log=parameter.log)
    top = parameter.max if parameter.step is None else after_steps(parameter, math.inf)
    return FloatDistribution(parameter.min, top, step=parameter.step, log=parameter.log)


def ending_of(trial: Trial) -> tuple[OptunaState, float | None]:
    """A trial's state in Optuna's terms. One that waits for its start already has its parameters, so it counts as running."""
    if trial.state == "completed" and trial.value is not None:
        return OptunaState.COMPLETE, trial.value
    if trial.state in ("pruned", "stopped"):
        return OptunaState.PRUNED, trial.value
    if trial.state == "failed":
        # Told as failed, a configuration that ran out of memory would be forgotten and drawn again and again.
        return (OptunaState.PRUNED if trial.failure_kind in ("oom", "nan", "timeout") else OptunaState.FAIL), None
    return (OptunaState.RUNNING if trial.set_aside_at is None else OptunaState.PRUNED), None
