"""Which configurations would run out of memory: learned from a study's own trials, and never handed out.

Two rules. What is at least as hungry in every respect as a configuration that ran out will run out too. And once enough
trials have told how much memory they took at most, a sum of a few products of sizes, with weights that can't be negative and are
fitted to that, says of others whether they go beyond what the machine has. Both are functions of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy

from studies.definition import ParamValue
from tuner.records import Trial

_FEWEST = 6  # measured trials before the model is believed
_OPTIMIZER_STATES = {"sgd": 1, "adam": 2, "adamw": 2}  # tensors held for each trained one


@dataclass(frozen=True)
class Hunger:
    """What of a configuration decides how much memory it takes; more of anything is more memory."""

    batch: float  # examples computed at once
    length: float  # tokens of an example, at most
    trained: float  # blocks that are not frozen, and the head
    states: int  # of the optimiser
    width: int  # bytes of a number in most activations

    def exceeds(self, other: Hunger) -> bool:
        """At least as hungry in every respect."""
        return (
            self.batch >= other.batch
            and self.length >= other.length
            and self.trained >= other.trained
            and self.states >= other.states
            and self.width >= other.width
        )

    def sizes(self) -> list[float]:
        """What memory is a weighted sum of: activations to go back through, those of one block, optimiser states, the rest."""
        tokens = self.batch * self.length * self.width
        return [tokens * self.trained, tokens, self.states * self.trained, 1.0]


class MemoryGuard:
    """Remembers how trials fared. `defaults` stand for parameters that a configuration does not name."""

    def __init__(self, defaults: Mapping[str, ParamValue], blocks: int | None) -> None:
        self._defaults = defaults
        self._blocks = blocks
        self._ran_out: list[Hunger] = []
        self._measured: list[tuple[Hunger, float]] = []
        self._limit: float | None = None
        self._weights: Sequence[float] | None = None
        self._error = 0.0

    def note(self, trial: Trial) -> None:
        """Learn from a trial that has ended."""
        if trial.state == "failed" and trial.failure_kind == "oom":
            self._ran_out.append(self._hunger(trial.params))
        # What pruned trials took is told after their end, so that a search that lives on and one that is rebuilt would differ.
        memory = trial.details.get("memory")
        if trial.state == "completed" and isinstance(memory, Mapping):
            self._measured.append((self._hunger(trial.params), float(memory["peak"])))
            self._limit = min(self._limit or float("inf"), float(memory["limit"]))
            self._fit()

    def refuses(self, params: Mapping[str, ParamValue]) -> bool:
        """Whether a configuration would run out of memory, as far as is known."""
        hunger = self._hunger(params)
        if any(hunger.exceeds(known) for known in self._ran_out):
            return True
        if self._weights is None or self._limit is None or any(known.exceeds(hunger) for known, _ in self._measured):
            return False
        return float(numpy.dot(self._weights, hunger.sizes())) - self._error > self._limit

    def _fit(self) -> None:
        # The same few sizes give no weights, whatever number of trials had them.
        if len({hunger for hunger, _ in self._measured}) < _FEWEST:
            return
        from scipy.optimize import nnls  # a fifth of the service's start, and most studies never need it

        sizes = numpy.array([hunger.sizes() for hunger, _ in self._measured])
        peaks = numpy.array([peak for _, peak in self._measured])
        scale = sizes.max(axis=0)
        weights, _ = nnls(sizes / scale, peaks)
        self._weights = weights / scale
        self._error = float(numpy.abs(sizes @ self._weights - peaks).max())

    def _hunger(self, params: Mapping[str, ParamValue]) -> Hunger:
        given: dict[str, ParamValue] = {**self._defaults, **params}
        frozen = _number(given.get("frozen_layers"), 0.0)
        return Hunger(
            batch=_number(given.get("batch_size"), 1.0) / _number(given.get("accumulation"), 1.0),
            length=_number(given.get("max_length"), 1.0),
            trained=(1 + self._blocks - frozen) if self._blocks is not None else 1 / (1 + frozen),
            states=_OPTIMIZER_STATES.get(str(given.get("optimizer")), 2),
            width=2 if given.get("precision") == "bfloat16" else 4,
        )


def _number(value: ParamValue, otherwise: float) -> float:
    return float(value) if isinstance(value, int | float) else otherwise
