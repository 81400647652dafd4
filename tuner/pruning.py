"""Which trials are not worth going on with: rules over the learning curves of one study.

Each rule is a function of what stands in rows: the scores that trials reported, and how many rungs each has passed
(`Trial.search_attrs`). So a race rebuilt from rows rules as the one that saw every report (`tests/contracts/test_replay.py`).
Scores are held so that larger is better, whatever the direction.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tuner.pruners import (
    AshaPruner,
    HyperbandPruner,
    MedianPruner,
    NoPruner,
    PatientPruner,
    PercentilePruner,
    Pruner,
    ThresholdPruner,
    promotes,
)
from tuner.records import Trial

Action = Literal["go on", "stop", "set aside"]
_ROUNDING = 1e-9  # three times a tenth of an epoch is a little more than 0.3
_GOLDEN = (math.sqrt(5) - 1) / 2
_MOST_BARS = 256  # epochs at which trials are compared: where they report every few steps, those used last


@dataclass(frozen=True)
class Ruling:
    """What becomes of a trial, and why, for people."""

    action: Action = "go on"
    reason: str | None = None


@dataclass
class Curve:
    """The scores of one trial, in the order of its reports."""

    at: list[float] = field(default_factory=list)  # epochs trained
    scores: list[float] = field(default_factory=list)
    best: list[float] = field(default_factory=list)  # so far; nan as long as there is no number

    def add(self, at: float, score: float) -> None:
        self.at.append(at)
        self.scores.append(score)
        before = self.best[-1] if self.best else math.nan
        self.best.append(score if math.isnan(before) else before if math.isnan(score) else max(before, score))

    def best_at(self, epochs: float) -> float:
        """The best score of the first `epochs` epochs; nan if there was no report by then."""
        index = bisect_left(self.at, epochs + _ROUNDING) - 1
        return self.best[index] if index >= 0 else math.nan

    def reached(self, epochs: float) -> bool:
        return bool(self.at) and self.at[-1] >= epochs - _ROUNDING

    def score_at(self, epochs: float) -> float:
        """The score of the first report after `epochs` epochs or later, which there must be."""
        return self.scores[bisect_left(self.at, epochs - _ROUNDING)]


class Bars:
    """What trials that have ended had reached at the same epoch, in order: comparing with all of them takes no look at each."""

    def __init__(self) -> None:
        self._ended: dict[int, Curve] = {}
        self._at: OrderedDict[float, list[float]] = OrderedDict()  # epochs → best scores so far, of those that got so far

    def add(self, number: int, curve: Curve) -> None:
        """A trial has ended with this curve; said again, it changes nothing."""
        if number in self._ended:
            return
        self._ended[number] = curve
        for epochs, scores in self._at.items():
            for score in _reached(curve, epochs):
                insort(scores, score)

    def at(self, epochs: float) -> Sequence[float]:
        """The lowest first."""
        scores = self._at.get(epochs)
        if scores is None:
            scores = self._at[epochs] = sorted(score for curve in self._ended.values() for score in _reached(curve, epochs))
            if len(self._at) > _MOST_BARS:
                self._at.popitem(last=False)
        self._at.move_to_end(epochs)
        return scores


def _reached(curve: Curve, epochs: float) -> list[float]:
    """Its best score by then, if it got so far and has one."""
    score = curve.best_at(epochs) if curve.reached(epochs) else math.nan
    return [] if math.isnan(score) else [score]


class Race:
    """The trials of one study under one rule."""

    MEMORY = "passed_rungs"  # the key in a trial's search_attrs

    def __init__(self, pruner: Pruner, *, maximize: bool) -> None:
        self.pruner = pruner
        self._sign = 1.0 if maximize else -1.0
        self._curves: dict[int, Curve] = {}
        self._running: dict[int, Curve] = {}  # of them, those of trials that have not ended
        self._bars = Bars()
        self._ended: set[int] = set()
        self._outside: set[int] = set()  # of the competition: the untuned default, and what failed
        self._aside: set[int] = set()  # wait at a rung
        self._passed: dict[int, int] = {}  # rungs that a trial went on from
        self._rungs: dict[tuple[int, int], list[tuple[float, int]]] = {}  # (bracket, rung) → (minus score, number), best first

    def enter(self, trial: Trial, reports: Iterable[tuple[float, float]]) -> None:
        """A trial as its rows tell it; its reports are (epochs, value)."""
        self._passed[trial.number] = int(trial.search_attrs.get(self.MEMORY, 0))
        for at, value in reports:
            self.report(trial.number, at, value)
        if trial.origin == "default":
            self.leave_outside(trial.number)
        if trial.finished:
            self.end(trial)
        elif trial.set_aside_at is not None:
            self._aside.add(trial.number)

    def end(self, trial: Trial) -> None:
        """The trial has ended, however that was."""
        self._ended.add(trial.number)
        self._running.pop(trial.number, None)
        if trial.number in self._curves:
            self._bars.add(trial.number, self._curves[trial.number])
        self._aside.discard(trial.number)
        if trial.state == "failed":
            self._outside.add(trial.number)

    def leave_outside(self, number: int) -> None:
        """The untuned default runs to its end whatever the others do: that it goes on is no promotion."""
        self._outside.add(number)

    def go_on(self, number: int) -> None:
        """A trial that was set aside leaves its rung for the next one."""
        self._aside.discard(number)
        self._passed[number] = self._passed.get(number, 0) + 1

    def promotable(self) -> Iterator[int]:
        """Trials set aside that rank among the best of their rung by now: highest rung first, best first."""
        for key in sorted(self._rungs, key=lambda key: key[1], reverse=True):
            scores = self._rungs[key]
            yield from self._waiting_at(key[1], scores[: len(scores) // self._factor])

    def last_promotable(self) -> Iterator[int]:
        """As `promotable` when no other trial will come: the best of a rung that no searched trial has left."""
        for key in sorted(self._rungs, key=lambda key: key[1], reverse=True):
            scores = self._rungs[key]
            if not any(self._passed.get(number, 0) > key[1] and number not in self._outside for _, number in scores):
                yield from self._waiting_at(key[1], scores)

    def _waiting_at(self, rung: int, scores: Sequence[tuple[float, int]]) -> Iterator[int]:
        return (number for _, number in scores if number in self._aside and self._passed.get(number, 0) == rung)

    def restart(self, number: int, *, aside: bool) -> None:
        """The rule has changed: rungs that a trial has come to are behind it, but for the one at which it waits."""
        reached = self._reached(number)
        self._passed[number] = max(0, reached - 1) if aside else reached

    def may_wait(self, number: int) -> bool:
        """Whether there is a rung at which the trial could be set aside."""
        return promotes(self.pruner) and self._reached(number) > 0

    def report(self, number: int, at: float, value: float) -> None:
        """Note a trial's score after `at` epochs; one that is not newer than what is known changes nothing."""
        curve = self._curves.setdefault(number, Curve())
        if curve.reached(at):
            return
        if number not in self._ended:
            self._running[number] = curve
        before = self._reached(number)
        curve.add(at, self._sign * value)
        for rung in range(before, self._reached(number)):
            score = curve.score_at(self._epochs_of(number, rung))
            if not math.isnan(score):
                insort(self._rungs.setdefault((self._bracket(number), rung), []), (-score, number))

    def judge(self, number: int, *, exempt: bool = False) -> Ruling:
        """What becomes of a trial after its newest report. An `exempt` one always goes on, but counts for the others."""
        curve = self._curves.get(number)
        if curve is None or isinstance(self.pruner, NoPruner):
            return Ruling()
        if isinstance(self.pruner, AshaPruner | HyperbandPruner):
            return self._halve(number, curve, exempt=exempt)
        if exempt or not curve.reached(self.pruner.min_epochs):
            return Ruling()
        if isinstance(self.pruner, ThresholdPruner):
            return _within(self.pruner, self._sign * curve.scores[-1])
        if math.isnan(curve.best[-1]):
            return Ruling("stop", f"{self.pruner.name}: its score is not a number")
        if isinstance(self.pruner, PatientPruner):
            return _patient(self.pruner, curve)
        return self._compare(number, curve, self.pruner)

    def memory(self, number: int) -> dict[str, Any]:
        """What a trial's search_attrs must hold of it."""
        passed = self._passed.get(number, 0)
        return {self.MEMORY: passed} if passed else {}

    def _compare(self, number: int, curve: Curve, pruner: MedianPruner | PercentilePruner) -> Ruling:
        now = curve.at[-1]
        # One that still runs and has not come so far counts with what it has: it would hardly fall back. One that ended
        # earlier does not: those that were stopped would pull the bar down.
        others = list(self._bars.at(now))
        for key, other in self._running.items():
            if key != number and not math.isnan(score := other.best_at(now)):
                insort(others, score)
        if len(others) < pruner.startup_trials:
            return Ruling()
        percentile = 50.0 if isinstance(pruner, MedianPruner) else pruner.percentile
        if curve.best[-1] >= quantile(others, 1 - percentile / 100):
            return Ruling()
        bar = "the median" if isinstance(pruner, MedianPruner) else f"the best {percentile:g} %"
        return Ruling("stop", f"{pruner.name}: behind {bar} of {len(others)} other trials at epoch {now:g}")

    def _halve(self, number: int, curve: Curve, *, exempt: bool) -> Ruling:
        for rung in range(self._passed.get(number, 0), self._reached(number)):
            epochs = self._epochs_of(number, rung)
            score = curve.score_at(epochs)
            if not exempt:
                if math.isnan(score):
                    return Ruling("stop", f"{self.pruner.name}: its score at epoch {epochs:g} is not a number")
                ahead, size = self._place(number, rung, score)
                if promotes(self.pruner) and ahead >= size // self._factor:
                    self._aside.add(number)
                    return Ruling("set aside", f"{self.pruner.name}: {ahead} of {size} trials did better at epoch {epochs:g}")
                if ahead >= max(1, size // self._factor):
                    return Ruling("stop", f"{self.pruner.name}: {ahead} of {size} trials did better at epoch {epochs:g}")
            self._passed[number] = rung + 1
        return Ruling()

    def _place(self, number: int, rung: int, score: float) -> tuple[int, int]:
        """How many did better on the rung, and how many are on it. With promotion, of equals the earlier did better."""
        scores = self._rungs[self._bracket(number), rung]
        return bisect_left(scores, (-score, number if promotes(self.pruner) else -1)), len(scores)

    @property
    def _factor(self) -> int:
        assert isinstance(self.pruner, AshaPruner | HyperbandPruner)
        return self.pruner.reduction_factor

    def _epochs_of(self, number: int, rung: int) -> float:
        """Where a rung of the trial's bracket lies."""
        assert isinstance(self.pruner, AshaPruner | HyperbandPruner)
        return float(self.pruner.min_epochs * self._factor ** (self._bracket(number) + rung))

    def _reached(self, number: int) -> int:
        """How many rungs the trial has come to."""
        if not isinstance(self.pruner, AshaPruner | HyperbandPruner) or number not in self._curves:
            return 0
        rung = 0
        while self._curves[number].reached(self._epochs_of(number, rung)):
            rung += 1
        return rung

    def _bracket(self, number: int) -> int:
        return bracket_of(self.pruner, number) if isinstance(self.pruner, HyperbandPruner) else 0


def bracket_of(pruner: HyperbandPruner, number: int) -> int:
    """Which bracket a trial belongs to: by its number, spread evenly, each bracket with Hyperband's share of the trials.

    Bracket b starts at min_epochs × reduction_factor**b. With s = last bracket − b, its share is proportional to
    reduction_factor**s / (s + 1), so that every bracket costs about the same (Li et al. 2018, algorithm 1).
    """
    factor = pruner.reduction_factor
    most = pruner.max_epochs or pruner.min_epochs
    last = max(0, math.floor(math.log(most / pruner.min_epochs, factor) + _ROUNDING))
    weights = [factor ** (last - bracket) / (last - bracket + 1) for bracket in range(last + 1)]
    place = math.fmod((number + 1) * _GOLDEN, 1.0) * sum(weights)
    for bracket, weight in enumerate(weights):
        place -= weight
        if place < 0:
            return bracket
    return last


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of the ordered ones lie, between two neighbours in proportion."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    between = ordered[low] + (place - low) * (ordered[high] - ordered[low])
    return ordered[low] if math.isnan(between) else between  # infinities, whose difference is not a number


def _within(pruner: ThresholdPruner, value: float) -> Ruling:
    if math.isnan(value):
        return Ruling("stop", "threshold: its score is not a number")
    if pruner.lower is not None and value < pruner.lower:
        return Ruling("stop", f"threshold: {value:g} is below {pruner.lower:g}")
    if pruner.upper is not None and value > pruner.upper:
        return Ruling("stop", f"threshold: {value:g} is above {pruner.upper:g}")
    return Ruling()


def _patient(pruner: PatientPruner, curve: Curve) -> Ruling:
    before = curve.best_at(curve.at[-1] - pruner.patience)
    if math.isnan(before) or curve.best[-1] > before + pruner.min_delta:
        return Ruling()
    return Ruling("stop", f"patient: no better for {pruner.patience:g} epochs")
