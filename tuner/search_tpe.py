"""Draws of the tree-structured Parzen estimator (Bergstra et al. 2011, multivariate as in Falkner et al. 2018).

Two densities are laid over what is known: one of the good trials, one of all others and of those that still run. Of some
candidates drawn from the first, the one is taken at which the first exceeds the second most. Constants and kernels are those of
Optuna's sampler (Watanabe 2023 describes them), so that a study searches as it would there. What differs is the price:
the coordinates of all trials are kept in one array (`tuner/search_memory.py`), and nothing is read trial by trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial
from scipy.special import ndtr, ndtri

from tuner.search_memory import Memory

Array = NDArray[np.float64]

_CANDIDATES = 24
_FULL_WEIGHT = 25  # of the newest; older ones weigh the less the older they are
_SMALLEST = 1e-300  # of a probability, whose logarithm is taken


class Tpe(optuna.samplers.BaseSampler):
    """A sampler for one draw of a study with one objective.

    Random until `startup_trials` have ended, or never if related studies told where good trials lie: each study is divided into
    good ones and others by itself, since values of different problems can't be compared.
    """

    def __init__(self, memory: Memory, *, seed: int, startup_trials: int) -> None:
        self._memory = memory
        self._seed = seed
        self._startup_trials = startup_trials

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    @cached_property
    def _random(self) -> optuna.samplers.BaseSampler:
        return optuna.samplers.RandomSampler(self._seed)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if self._memory.n_ended < self._startup_trials and not self._memory.has_related:
            return {}
        good, others = (
            Density(search_space, self._memory.points(numbers, list(search_space), good=good))
            for good, numbers in zip((True, False), self._memory.good_and_others(trial.number), strict=True)
        )
        candidates = good.sample(np.random.default_rng(self._seed), _CANDIDATES)
        best = candidates[np.argmax(good.log_at(candidates) - others.log_at(candidates))]
        pairs = zip(search_space.items(), best.tolist(), strict=True)
        return {name: distribution.to_external_repr(value) for (name, distribution), value in pairs}


class Density:
    """A mixture with one kernel a trial, each a product over the parameters, and one kernel that covers the space."""

    def __init__(self, space: Mapping[str, BaseDistribution], points: Array) -> None:
        """`points`: a row a trial, the oldest first, and a column a parameter, as Optuna represents values internally."""
        weights = np.append(weights_of(len(points)), 1.0)
        self._weights = weights / weights.sum()
        self._axes = [_axis(distribution, column) for distribution, column in zip(space.values(), points.T, strict=True)]

    def sample(self, rng: np.random.Generator, count: int) -> Array:
        kernels = np.searchsorted(np.cumsum(self._weights)[:-1], rng.random(count))
        return np.column_stack([axis.sample(rng, kernels) for axis in self._axes])

    def log_at(self, points: Array) -> Array:
        """The logarithm of the density at each row, up to a constant that all densities of a space share."""
        logs = np.log(self._weights) + sum(axis.log_at(column) for axis, column in zip(self._axes, points.T, strict=True))
        most: Array = logs.max(axis=1)
        sums: Array = most + np.log(np.exp(logs - most[:, None]).sum(axis=1))
        return sums


def weights_of(count: int) -> Array:
    """How much each of `count` trials counts, the oldest first."""
    older = max(0, count - _FULL_WEIGHT)
    return np.concatenate([np.linspace(1 / max(1, count), 1, older), np.ones(count - older)])


def _axis(distribution: BaseDistribution, values: Array) -> _Choices | _Numbers:
    if isinstance(distribution, CategoricalDistribution):
        return _Choices(len(distribution.choices), values)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return _Numbers(distribution, values)


class _Choices:
    """Kernels over unordered values: each favours the one of its trial, and the last one favours none."""

    def __init__(self, count: int, values: Array) -> None:
        self._count = count
        self._favoured = np.append(values, -1.0)
        base = 1 / len(self._favoured)
        self._rest = base / (1 + count * base)  # the probability of a value that is not favoured
        self._logs = np.log([self._rest, self._rest + 1 / (1 + count * base)])
        self._log_any = -np.log(count)

    def sample(self, rng: np.random.Generator, kernels: NDArray[np.int64]) -> Array:
        favoured = self._favoured[kernels]
        free = (rng.random(len(kernels)) < self._count * self._rest) | (favoured < 0)
        values: Array = np.where(free, rng.integers(self._count, size=len(kernels)), favoured)
        return values

    def log_at(self, values: Array) -> Array:
        logs: Array = np.where(values[:, None] == self._favoured, self._logs[1], self._logs[0])
        logs[:, -1] = self._log_any
        return logs


@dataclass
class _Scale:
    """The range of a number: where kernels lie on it, and which values there are."""

    distribution: FloatDistribution | IntDistribution

    def __post_init__(self) -> None:
        half = (self.distribution.step or 0) / 2
        self.low, self.high = self.place(np.array([self.distribution.low - half, self.distribution.high + half])).tolist()

    def place(self, values: Array) -> Array:
        places: Array = np.log(values) if self.distribution.log else values
        return places

    def values(self, places: Array) -> Array:
        given = self.distribution
        values = np.exp(places) if given.log else places
        if given.step is not None:
            values = given.low + np.round((values - given.low) / given.step) * given.step
        return np.clip(values, given.low, given.high)


class _Numbers:
    """Kernels over a range: normal ones, cut off at its ends, as wide as the gap to the farther neighbour."""

    def __init__(self, distribution: FloatDistribution | IntDistribution, values: Array) -> None:
        self._scale = scale = _Scale(distribution)
        places = scale.place(values)
        width = scale.high - scale.low
        self._centres = np.append(places, (scale.low + scale.high) / 2)
        self._widths = np.append(np.clip(_gaps(places, scale.low, scale.high), width / min(100, len(places) + 2), width), width)
        self._from = ndtr((scale.low - self._centres) / self._widths)
        self._mass = ndtr((scale.high - self._centres) / self._widths) - self._from

    def sample(self, rng: np.random.Generator, kernels: NDArray[np.int64]) -> Array:
        shares = self._from[kernels] + rng.random(len(kernels)) * self._mass[kernels]
        return self._scale.values(self._centres[kernels] + self._widths[kernels] * ndtri(shares))

    def log_at(self, values: Array) -> Array:
        step = self._scale.distribution.step
        if step is None:
            apart = self._apart(values)
            return -apart * apart / 2 - self._log_norm
        several, where = np.unique(values, return_inverse=True)
        between = ndtr(self._apart(several + step / 2)) - ndtr(self._apart(several - step / 2))
        logs: Array = np.log(np.maximum(between / self._mass, _SMALLEST))[where]
        return logs

    def _apart(self, values: Array) -> Array:
        """How many widths each value lies from each kernel's centre."""
        apart: Array = (self._scale.place(values)[:, None] - self._centres) / self._widths
        return apart

    @cached_property
    def _log_norm(self) -> Array:
        norm: Array = np.log(self._widths * self._mass)
        return norm


def _gaps(places: Array, low: float, high: float) -> Array:
    """Of each place the distance to its farther neighbour; the ends of the range are neighbours of a single one only."""
    order = np.argsort(places, kind="stable")
    between = np.diff(places[order])
    outer = [0.0, 0.0] if len(places) > 1 else [places[0] - low, high - places[0]] if len(places) else []
    left, right = np.concatenate([outer[:1], between]), np.concatenate([between, outer[1:]])
    gaps = np.empty(len(places))
    gaps[order] = np.maximum(left, right)
    return gaps
