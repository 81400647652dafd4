"""Figures of several studies side by side: best so far by trial and by hours spent, distribution of values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import accumulate

import plotly.graph_objects as go

from api.dashboard.figure_base import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILLION, canvas, empty, finite, label, rounded, thinned
from tuner.records import Study, Trial
from tuner.spec import direction_of, objective_of
from tuner.usage import Held

# Colour and dash: no line is told by colour alone.
STYLES = (
    (BLUE, "solid"),
    (ORANGE, "dash"),
    (GREEN, "dot"),
    (PURPLE, "dashdot"),
    (VERMILLION, "longdash"),
    (SKY, "longdashdot"),
)
NOTHING = "None of the studies has a completed trial yet"
MAX_STEPS = 500


@dataclass(frozen=True, kw_only=True)
class StudyLine:
    """One of the studies; `held` is the time of its attempts."""

    study: Study
    trials: Sequence[Trial]  # all of them, by number
    held: Sequence[Held]

    @cached_property
    def scored(self) -> list[tuple[Trial, float]]:
        return [(t, t.value) for t in self.trials if t.state == "completed" and t.value is not None and finite(t.value)]

    def best_so_far(self, values: Sequence[float]) -> list[float]:
        return list(accumulate(values, max if direction_of(self.study.spec) == "maximize" else min))


def by_trial(lines: Sequence[StudyLine], now: datetime) -> go.Figure:
    """Best value so far by the number of the trial."""
    figure = canvas("Best so far by trial", xaxis={"title": {"text": "trial"}}, yaxis={"title": {"text": _metric(lines)}})
    for index, line in enumerate(lines):
        values = line.best_so_far([value for _, value in line.scored])
        _add(figure, index, line, [(float(trial.number), best) for (trial, _), best in zip(line.scored, values, strict=True)])
    return figure if figure.data else empty("Best so far by trial", NOTHING)


def by_hour(lines: Sequence[StudyLine], now: datetime) -> go.Figure:
    """Best value so far by the hours that GPUs were held; by the hours of workers if a study had none."""
    on_gpus = all(any(gpus for _, _, gpus in line.held) for line in lines if line.held)
    title = "GPU-hours" if on_gpus else "hours of workers"
    figure = canvas("Best so far by hours", xaxis={"title": {"text": title}}, yaxis={"title": {"text": _metric(lines)}})
    for index, line in enumerate(lines):
        ended = sorted((trial.finished_at, value) for trial, value in line.scored if trial.finished_at is not None)
        spent = _spent([held for held in line.held if held[2] or not on_gpus], [moment for moment, _ in ended], now)
        _add(figure, index, line, list(zip(spent, line.best_so_far([value for _, value in ended]), strict=True)))
    return figure if figure.data else empty("Best so far by hours", NOTHING)


def edf(lines: Sequence[StudyLine], now: datetime) -> go.Figure:
    """The share of completed trials whose value is at most so high."""
    shares = {"title": {"text": "share of completed trials"}, "range": [0, 1.02], "tickformat": ".0%"}
    figure = canvas("Distribution", xaxis={"title": {"text": _metric(lines)}}, yaxis=shares)
    for index, line in enumerate(lines):
        values = sorted(value for _, value in line.scored)
        _add(figure, index, line, [(value, (place + 1) / len(values)) for place, value in enumerate(values)])
    return figure if figure.data else empty("Distribution", NOTHING)


STUDY_FIGURES: Mapping[str, Callable[[Sequence[StudyLine], datetime], go.Figure]] = {
    "by_trial": by_trial,
    "by_hour": by_hour,
    "edf": edf,
}


def _metric(lines: Sequence[StudyLine]) -> str:
    return label(" / ".join(dict.fromkeys(objective_of(line.study.spec).metric for line in lines)))


def _spent(held: Sequence[Held], moments: Sequence[datetime], now: datetime) -> list[float]:
    """Hours held up to each of `moments`, which ascend. Every start adds a clock that runs, every end stops one."""
    changes = sorted([(granted, 1) for granted, _, _ in held] + [(ended or now, -1) for _, ended, _ in held])
    spent, running, before, position = 0.0, 0, changes[0][0] if changes else now, 0
    found = []
    for moment in moments:
        while position < len(changes) and changes[position][0] <= moment:
            spent += running * (changes[position][0] - before).total_seconds()
            before = changes[position][0]
            running += changes[position][1]
            position += 1
        found.append((spent + running * max(0.0, (moment - before).total_seconds())) / 3600)
    return found


def _add(figure: go.Figure, index: int, line: StudyLine, points: Sequence[tuple[float, float]]) -> None:
    if not points:
        return
    colour, dash = STYLES[index % len(STYLES)]
    shown = thinned(points, MAX_STEPS)
    figure.add_scatter(
        name=label(line.study.name),
        mode="lines",
        x=[rounded(x) for x, _ in shown],
        y=[rounded(y) for _, y in shown],
        line={"color": colour, "dash": dash, "width": 2.5, "shape": "hv"},
        hovertemplate="%{y:.4g} at %{x:.4g}",
    )
