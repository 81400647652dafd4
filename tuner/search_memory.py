"""What samplers remember: Optuna's storage in memory, of which TPE looks at a part that does not grow without end.

A draw of TPE costs time in proportion to the trials that it looks at. What it makes of them is two densities: of its best 25
trials at most, and of all the others. So it looks at those 25, every trial that still runs, the newest, and of the others
a selection that is spread evenly over their numbers. That leaves the first density as it is, and the second one nearly so:
TPE lets old trials weigh less, down to nothing, as before.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

STUDY = 0  # the memory holds one
MOST_SHOWN = 500  # ended trials that TPE looks at, about
BEST_SHOWN = 50  # of them; twice as many as TPE ever counts as good
NEWEST_SHOWN = 25  # of them; TPE gives these full weight
MOST_GOOD = 25  # trials, or a tenth of them if that is less, make the density of the good ones (Optuna's default)
_SCATTER = 2_654_435_761  # Knuth's multiplier: consecutive numbers fall far apart, without a period
_Rank = tuple[int, int, float, int]


class Memory(optuna.storages.InMemoryStorage):
    """One study, without the notes that TPE and GP leave for other processes: there are none."""

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        """`space`: what is searched."""
        super().__init__()
        self._columns = {name: column for column, name in enumerate(space)}
        # A row a trial and a column a parameter, as Optuna represents values internally; NaN where there is none.
        self._points = np.full((64, len(space)), np.nan)
        self._related: dict[bool, list[NDArray[np.float64]]] = {True: [], False: []}  # such rows of other problems, by good
        self._open: set[int] = set()
        self._ended: list[int] = []  # numbers, those of failed trials aside: no sampler looks at them
        self._scattered: list[tuple[int, int]] = []  # the same in an order of which every beginning is spread evenly
        self._ranked: list[_Rank] = []  # the same, best first
        self._orders: tuple[list[Any], ...] = (self._ended, self._scattered, self._ranked)

    @property
    def n_ended(self) -> int:
        """How many trials have ended otherwise than by a failure."""
        return len(self._ended)

    def good_and_others(self, but: int) -> tuple[list[int], list[int]]:
        """The numbers of the trials that TPE looks at, in order, `but` for the one that is drawn: good ones, and others."""
        if len(self._ended) <= MOST_SHOWN:
            shown = {*self._ended, *self._open}
        else:
            best = {number for *_, number in self._ranked[:BEST_SHOWN]}
            some = {number for _, number in self._scattered[: MOST_SHOWN - BEST_SHOWN - NEWEST_SHOWN]}
            shown = best | some | self._open | set(self._ended[-NEWEST_SHOWN:])
        count = min(math.ceil(0.1 * len(shown - self._open)), MOST_GOOD)
        good = {number for *_, number in self._ranked[:count]}
        return sorted(good), sorted(shown - good - {but})

    @property
    def has_related(self) -> bool:
        """Whether anything is known from other problems."""
        return bool(self._related[True])

    def relate(self, trial: FrozenTrial, *, good: bool) -> None:
        """Note a trial of a related problem: whether it was good there says something of where to look here."""
        row = np.full(len(self._columns), np.nan)
        for name, value in trial.params.items():
            row[self._columns[name]] = trial.distributions[name].to_internal_repr(value)
        self._related[good].append(row)

    def points(self, numbers: Sequence[int], names: Sequence[str], *, good: bool) -> NDArray[np.float64]:
        """A row for each of the trials that has all of the parameters, which are the columns; related good (or other) ones first.

        So they count as the oldest: they weigh the less the more trials of its own a study has.
        """
        related = np.reshape(self._related[good], (len(self._related[good]), len(self._columns)))
        rows = np.concatenate([related, self._points[np.array(numbers, dtype=np.intp)]])
        found = rows[:, [self._columns[name] for name in names]]
        complete: NDArray[np.float64] = found[~np.isnan(found).any(axis=1)]
        return complete

    def remember(self, trials: Iterable[FrozenTrial]) -> None:
        """Add trials as rows tell them."""
        for trial_id in [self._add(STUDY, trial) for trial in trials]:
            for order, place in zip(self._orders, self._places(trial_id), strict=False):
                order.append(place)
        for order in self._orders:
            order.sort()

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if ":relative_params" not in key:
            super().set_trial_system_attr(trial_id, key, value)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial_id = self._add(study_id, template_trial)
        self._note_end(trial_id)
        return trial_id

    def _add(self, study_id: int, trial: FrozenTrial | None) -> int:
        trial_id = super().create_new_trial(study_id, trial)
        if trial_id >= len(self._points):
            self._points = np.concatenate([self._points, np.full_like(self._points, np.nan)])
        if trial is not None:
            for name, value in trial.params.items():
                self._points[trial_id, self._columns[name]] = trial.distributions[name].to_internal_repr(value)
        if trial is None or not trial.state.is_finished():
            self._open.add(trial_id)
        return trial_id

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
        self._points[trial_id, self._columns[param_name]] = param_value_internal

    def set_trial_state_values(self, trial_id: int, state: OptunaState, values: Sequence[float] | None = None) -> bool:
        changed = super().set_trial_state_values(trial_id, state, values)
        self._note_end(trial_id)
        return changed

    def run_again(self, trial_id: int) -> None:
        """A trial that had ended for the time being runs again, as if it had never ended."""
        # Optuna knows no way back from an end, but its memory hands out the trial itself. A replayed study, whose trial is made
        # as a running one, decides alike (tests/contracts).
        trial = self.get_trial(trial_id)
        if not trial.state.is_finished():
            return
        for order, place in zip(self._orders, self._places(trial_id), strict=False):
            order.remove(place)
        trial.state = OptunaState.RUNNING
        self._open.add(trial_id)

    def _note_end(self, trial_id: int) -> None:
        if self.get_trial(trial_id).state.is_finished():
            self._open.discard(trial_id)
        for order, place in zip(self._orders, self._places(trial_id), strict=False):
            insort(order, place)

    def _places(self, trial_id: int) -> tuple[Any, ...]:
        """What stands for a trial in each order; nothing of one that is in none."""
        trial = self.get_trial(trial_id)
        if not trial.state.is_finished() or trial.state is OptunaState.FAIL:
            return ()
        return trial_id, (trial_id * _SCATTER % 2**32, trial_id), _rank(trial, self.get_study_directions(STUDY)[0])


class Remembered(FrozenTrial):
    """A trial as its rows tell it. Nobody else holds it, so it is neither checked nor copied, which cost most in Optuna's way."""

    def __init__(
        self,
        *,
        state: OptunaState,
        values: Sequence[float] | None = None,
        params: Mapping[str, Any] = MappingProxyType({}),
        distributions: Mapping[str, BaseDistribution] = MappingProxyType({}),
        intermediate_values: Mapping[int, float] = MappingProxyType({}),
        system_attrs: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__(
            number=-1,  # both are given by the storage
            trial_id=-1,
            state=state,
            value=None,
            values=values,
            datetime_start=None,
            datetime_complete=None,
            params=dict(params),
            distributions=dict(distributions),
            user_attrs={},
            system_attrs=dict(system_attrs),
            intermediate_values=dict(intermediate_values),
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Remembered:
        return self


def _rank(trial: FrozenTrial, direction: StudyDirection) -> _Rank:
    """As TPE orders trials: completed ones by value, then pruned ones by how far they came and with what."""
    sign = -1.0 if direction is StudyDirection.MAXIMIZE else 1.0
    if trial.state is OptunaState.COMPLETE:
        return 0, 0, sign * trial.values[0], trial.number
    step = trial.last_step
    if step is None:
        return 1, 1, 0.0, trial.number
    value = trial.intermediate_values[step]
    return 1, -step, math.inf if math.isnan(value) else sign * value, trial.number
