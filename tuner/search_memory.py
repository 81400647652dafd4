"""What samplers remember: Optuna's storage in memory, of which TPE is shown a part that does not grow without end.

A draw of TPE costs time in proportion to the trials that it looks at: at 10,000 trials ten times what it costs at 1,000.
What it makes of them is two densities: of its best 25 trials at most, and of all the others. So it is shown those 25,
every trial that still runs, the newest, and of the others a selection that is spread evenly over their numbers. That
leaves the first density as it is, and the second one nearly so: TPE lets old trials weigh less, down to nothing, as before.
"""

from __future__ import annotations

import copy
import math
from bisect import insort
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

STUDY = 0  # the memory holds one
MOST_SHOWN = 500  # ended trials that TPE looks at, about
BEST_SHOWN = 50  # of them; twice as many as TPE ever counts as good (its default gamma)
NEWEST_SHOWN = 25  # of them; TPE gives these full weight (its default weights)
_SCATTER = 2_654_435_761  # Knuth's multiplier: consecutive numbers fall far apart, without a period
_Rank = tuple[int, int, float, int]


class Memory(optuna.storages.InMemoryStorage):
    """One study, without the notes that TPE and GP leave for other processes: there are none."""

    def __init__(self) -> None:
        super().__init__()
        self._narrow = False
        self._open: set[int] = set()
        self._ended: list[int] = []  # numbers, those of failed trials aside: no sampler looks at them
        self._scattered: list[tuple[int, int]] = []  # the same in an order of which every beginning is spread evenly
        self._ranked: list[_Rank] = []  # the same, best first

    @contextmanager
    def narrowed(self) -> Iterator[None]:
        """Meanwhile only a selection of the trials is shown, if there are many."""
        self._narrow = True
        try:
            yield
        finally:
            self._narrow = False

    def remember(self, trial: FrozenTrial) -> None:
        """Add a trial as rows tell it. Nobody else holds it, so it is not copied, which is what costs most in Optuna's way."""
        self.create_new_trial(
            STUDY,
            _Kept(
                number=-1,  # both are given by the storage
                trial_id=-1,
                state=trial.state,
                value=None,
                values=trial.values,
                datetime_start=trial.datetime_start,
                datetime_complete=trial.datetime_complete,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=trial.user_attrs,
                system_attrs=trial.system_attrs,
                intermediate_values=trial.intermediate_values,
            ),
        )

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if ":relative_params" not in key:
            super().set_trial_system_attr(trial_id, key, value)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial_id = super().create_new_trial(study_id, template_trial)
        self._open.add(trial_id)
        self._note_end(trial_id)
        return trial_id

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
        if trial.state is not OptunaState.FAIL:
            self._ended.remove(trial_id)
            self._scattered.remove((trial_id * _SCATTER % 2**32, trial_id))
            self._ranked.remove(_rank(trial, self.get_study_directions(STUDY)[0]))
        trial.state = OptunaState.RUNNING
        self._open.add(trial_id)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[OptunaState] | None = None
    ) -> list[FrozenTrial]:
        if not self._narrow or len(self._ended) <= MOST_SHOWN:
            return super().get_all_trials(study_id, deepcopy, states)
        shown = [trial for trial in map(self.get_trial, self._selection()) if states is None or trial.state in states]
        return copy.deepcopy(shown) if deepcopy else shown

    def _selection(self) -> list[int]:
        best = {number for *_, number in self._ranked[:BEST_SHOWN]}
        some = {number for _, number in self._scattered[: MOST_SHOWN - BEST_SHOWN - NEWEST_SHOWN]}
        return sorted(best | some | self._open | set(self._ended[-NEWEST_SHOWN:]))

    def _note_end(self, trial_id: int) -> None:
        trial = self.get_trial(trial_id)
        if not trial.state.is_finished():
            return
        self._open.discard(trial_id)
        if trial.state is not OptunaState.FAIL:
            insort(self._ended, trial_id)
            insort(self._scattered, (trial_id * _SCATTER % 2**32, trial_id))
            insort(self._ranked, _rank(trial, self.get_study_directions(STUDY)[0]))


class _Kept(FrozenTrial):
    """A trial that a copy need not be made of."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Kept:
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
