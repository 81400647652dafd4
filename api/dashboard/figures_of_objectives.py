"""The figure of several objectives: what each trial scores on two of them, and which trials no other one beats."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from api.dashboard.figure_base import BLUE, GREY, OUTLINE, FigureInput, canvas, empty, label, rounded, thinned
from studies.errors import InvalidInput, known
from tuner.objectives import pareto_set, scores, unbeaten
from tuner.records import Trial
from tuner.spec import objectives_of


def pareto(given: FigureInput) -> go.Figure:
    """Completed trials: the leading objective upwards, the second (or `x`) sideways; of one, the time it took."""
    title, spec = "Pareto set", given.study.spec
    names = [objective.metric for objective in objectives_of(spec)]
    others = names[1:] or ["seconds"]
    across = given.x if given.x in others or len(names) > 1 and given.x is not None else others[0]
    if across not in others:
        raise InvalidInput.at("x", f"{across!r} is no other objective of this study; {known(others)}")

    def place(trial: Trial) -> float:
        return trial.values[across] if len(names) > 1 else trial.busy_seconds

    trials = [trial for trial in given.scored if scores(spec, trial)]
    if not trials:
        return empty(title, "No trial has completed yet")
    front = pareto_set(spec, trials) if len(names) > 1 else unbeaten([(t, (given.badness(t), place(t))) for t in trials])
    numbers = {trial.number for trial in front}
    beaten = [trial for trial in trials if trial.number not in numbers]
    axes = {"xaxis": {"title": {"text": label(across)}}, "yaxis": {"title": {"text": label(names[0])}}}
    figure = canvas(title, f"{len(front)} of {len(trials)} completed trials are beaten by no other", **axes)
    figure.add_trace(_points("beaten", thinned(beaten), place, GREY, "circle-open"))
    figure.add_trace(_points("Pareto set", thinned(front), place, BLUE, "diamond"))
    return figure


def _points(name: str, trials: Sequence[Trial], place: Callable[[Trial], float], colour: str, symbol: str) -> go.Scatter:
    return go.Scatter(
        name=name,
        mode="markers",
        x=[rounded(place(trial)) for trial in trials],
        y=[rounded(trial.value) for trial in trials],
        customdata=[trial.number for trial in trials],
        marker={"color": colour, "symbol": symbol, "size": 9, "line": OUTLINE},
        hovertemplate="trial %{customdata}: %{x:.4g}, %{y:.4g}",
    )
