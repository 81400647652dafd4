"""Figures of how a study goes: history, learning curves, distribution of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from api.dashboard.figure_base import (
    BLUE,
    GREEN,
    GREY,
    OUTLINE,
    PURPLE,
    SKY,
    STATE_MARKS,
    VERMILLION,
    FigureInput,
    canvas,
    empty,
    finite,
    label,
    pale,
    rounded,
    thinned,
)
from studies.errors import InvalidInput, known
from tuner.records import MetricPoint, Trial

NOTHING_FINISHED = "No trial has finished yet"
MAX_CURVES = 100
MAX_CURVE_POINTS = 100
MAX_MARKED_POINTS = 1_500  # of all curves together; with more, only lines
CURVE_AXES = ("epoch", "step", "time")
FEW_EPOCHS = 12  # each gets a tick

_DASHES = {"completed": "solid", "pruned": "dot", "running": "dash", "stopped": "dashdot", "failed": "longdash"}


def history(given: FigureInput) -> go.Figure:
    """Value of every finished trial by number, the best so far, and the scores to beat."""
    title = f"History of {label(given.objective)}"
    finished = [trial for trial in given.trials if trial.finished]
    if not finished:
        return empty(title, NOTHING_FINISHED)
    shown = {state: [t for t in finished if t.state == state and finite(t.value)] for state in STATE_MARKS}
    cut = any(len(trials) > len(thinned(trials)) for trials in shown.values())
    note = f"{len(finished):,} finished trials, of which an even sample is drawn" if cut else ""
    figure = canvas(title, note, xaxis={"title": {"text": "trial"}}, yaxis={"title": {"text": label(given.objective)}})
    for state, trials in shown.items():
        if trials:
            figure.add_trace(_state_points(state, given.thinned(trials)))
    _add_best_so_far(figure, given)
    _add_valueless(figure, [trial for trial in finished if not finite(trial.value)])
    _add_baselines(figure, given)
    return figure


def _state_points(state: str, trials: Sequence[Trial]) -> go.Scatter:
    colour, symbol = STATE_MARKS[state]
    return go.Scatter(
        name=state,
        mode="markers",
        x=[trial.number for trial in trials],
        y=[rounded(trial.value) for trial in trials],
        customdata=[trial.number for trial in trials],
        marker={"color": colour if state == "completed" else pale(colour), "symbol": symbol, "size": 8, "line": OUTLINE},
        hovertemplate="trial %{x}: %{y:.4g}",
    )


def _add_best_so_far(figure: go.Figure, given: FigureInput) -> None:
    steps: list[Trial] = []
    for trial in given.scored:
        if not steps or given.badness(trial) < given.badness(steps[-1]):
            steps.append(trial)
    if not steps:
        return
    shown = thinned(steps)
    figure.add_scatter(
        name="best so far",
        mode="lines",
        x=[*(trial.number for trial in shown), given.trials[-1].number],
        y=[*(rounded(trial.value) for trial in shown), rounded(shown[-1].value)],
        line={"color": GREEN, "width": 2, "shape": "hv"},
        hovertemplate="best so far: %{y:.4g}",
    )


def _add_valueless(figure: go.Figure, trials: Sequence[Trial]) -> None:
    """A rug along the lower edge: these trials happened, but have no height."""
    if not trials:
        return
    shown = thinned(trials)
    figure.add_scatter(
        name="without a value",
        mode="markers",
        x=[trial.number for trial in shown],
        y=[0.02] * len(shown),
        yaxis="y2",
        customdata=[trial.number for trial in shown],
        text=[label(f"{trial.state}, {trial.failure_kind}" if trial.failure_kind else trial.state) for trial in shown],
        marker={"color": VERMILLION, "symbol": "x-thin-open", "size": 8, "line": {"width": 1.5}},
        hovertemplate="trial %{x}: %{text}",
    )
    figure.update_layout(yaxis2={"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True})


def _add_baselines(figure: go.Figure, given: FigureInput) -> None:
    default = next((t.value for t in given.scored if t.origin == "default"), None)
    lines = (
        ("majority class", given.study.facts.baseline.get(given.objective), PURPLE, "dot"),
        ("untuned default", default, SKY, "dash"),
    )
    ends = [given.trials[0].number, given.trials[-1].number]
    for name, value, colour, dash in lines:
        if finite(value):
            figure.add_scatter(
                name=name,
                mode="lines",
                x=ends,
                y=[rounded(value)] * 2,
                line={"color": colour, "width": 1.5, "dash": dash},
                hovertemplate=f"{name}: %{{y:.4g}}",
            )


def curves(given: FigureInput) -> go.Figure:
    """One metric by epoch, step or time since the start (`x`); the best stands out, pruned ones fade.

    The lines of one state share a trace, apart by gaps: a browser draws few traces much faster than many. A point's `customdata`
    is its trial. `layout.meta.metrics` lists what can be asked for as `metric`.
    """
    metric = given.metric or given.objective
    title = f"Learning curves: {label(metric)}"
    started = [trial for trial in given.trials if trial.epoch is not None or trial.step is not None]
    chosen = _curve_trials(given, started)
    points = given.metrics([trial.number for trial in chosen])
    names = sorted({_metric_name(point) for trial_points in points.values() for point in trial_points})
    lines = {trial.number: _line(given, trial, points.get(trial.number, ()), metric) for trial in chosen}
    if not any(lines.values()):
        message = f"Nothing was reported as {label(metric)}" if names else "No trial has reported yet"
        return empty(title, message).update_layout(meta={"metrics": names})
    note = f"The best {MAX_CURVES // 2} and the latest of {len(started):,} trials" if len(started) > len(chosen) else ""
    axis, longest = _curve_axis(given, points), max((x or 0.0) for line in lines.values() for x, _ in line)
    figure = canvas(
        title,
        note,
        meta={"metrics": names},
        xaxis={"title": {"text": axis}, "dtick": 1 if axis == "epoch" and longest <= FEW_EPOCHS else None},
        yaxis={"title": {"text": label(metric)}},
    )
    groups: dict[str, list[Trial]] = {}
    for trial in chosen:
        if lines[trial.number]:
            groups.setdefault("best" if trial is given.best else trial.state, []).append(trial)
    markers = sum(len(line) for line in lines.values()) <= MAX_MARKED_POINTS
    for group in sorted(groups, key=lambda group: group == "best"):
        figure.add_trace(_curve_group(group, groups[group], lines, markers))
    return figure


def _metric_name(point: MetricPoint) -> str:
    return point.name if point.split == "validation" else f"{point.split}/{point.name}"


def _curve_axis(given: FigureInput, points: Mapping[int, Sequence[MetricPoint]]) -> str:
    """What stands below the curves. Raises InvalidInput for an axis that is none."""
    if given.x not in (None, *CURVE_AXES):
        raise InvalidInput.at("x", f"unknown axis {given.x!r} of learning curves; {known(CURVE_AXES)}")
    if given.x == "time":
        return "seconds since the start"
    by_epoch = all(point.epoch is not None for line in points.values() for point in line)
    return "step" if given.x == "step" or not by_epoch else "epoch"


def _line(
    given: FigureInput, trial: Trial, points: Sequence[MetricPoint], metric: str
) -> list[tuple[float | None, float | None]]:
    """(x, y) of each point of a trial's curve."""
    wanted = thinned([point for point in points if _metric_name(point) == metric], MAX_CURVE_POINTS)
    if given.x == "time":
        begin = trial.started_at
        timed = [(point.reported_at, point.value) for point in wanted if point.reported_at is not None and begin is not None]
        return [((at - begin).total_seconds(), value) for at, value in timed if begin is not None]
    by_epoch = given.x != "step" and all(point.epoch is not None for point in wanted)
    return [(point.epoch if by_epoch else float(point.step), point.value) for point in wanted]


def _curve_trials(given: FigureInput, started: Sequence[Trial]) -> list[Trial]:
    """The best, the latest and those to be kept."""
    if len(started) <= MAX_CURVES:
        return list(started)
    best = sorted(given.scored, key=given.badness)[: MAX_CURVES // 2]
    taken = {trial.number for trial in best} | given.kept
    latest = [trial.number for trial in started if trial.number not in taken][-(MAX_CURVES - len(best)) :]
    return [trial for trial in started if trial.number in taken.union(latest)]


def _curve_group(
    group: str, trials: Sequence[Trial], lines: Mapping[int, Sequence[tuple[float | None, float | None]]], markers: bool
) -> go.Scatter:
    best = group == "best"
    x: list[float | None] = []
    y: list[float | None] = []
    numbers: list[int] = []
    for trial in trials:
        line = lines[trial.number]
        x.extend([*(rounded(place) for place, _ in line), None])
        y.extend([*(rounded(value) for _, value in line), None])
        numbers.extend([trial.number] * (len(line) + 1))
    colour = GREEN if best else STATE_MARKS.get(group, (GREY, ""))[0]
    return go.Scatter(
        name=group,
        mode="lines+markers" if markers or best else "lines",
        x=x[:-1],
        y=y[:-1],
        customdata=numbers[:-1],
        connectgaps=False,
        line={"color": colour, "width": 3 if best else 1.5, "dash": "solid" if best else _DASHES.get(group, "solid")},
        marker={"size": 8 if best else 4, "symbol": "star" if best else "circle"},
        opacity={"best": 1.0, "completed": 0.7, "running": 0.9}.get(group, 0.45),
        hovertemplate="trial %{customdata}: %{y:.4g} at %{x:.4g}",
    )


def edf(given: FigureInput) -> go.Figure:
    """The share of completed trials whose value is at most so high."""
    title = f"Distribution of {label(given.objective)}"
    values = sorted(trial.value or 0.0 for trial in given.scored)
    if not values:
        return empty(title, NOTHING_FINISHED)
    shares = thinned([(value, (index + 1) / len(values)) for index, value in enumerate(values)])
    figure = canvas(
        title,
        xaxis={"title": {"text": label(given.objective)}},
        yaxis={"title": {"text": "share of completed trials"}, "range": [0, 1.02], "tickformat": ".0%"},
    )
    return figure.add_scatter(
        name="completed trials",
        mode="lines+markers",
        x=[rounded(value) for value, _ in shares],
        y=[rounded(share) for _, share in shares],
        line={"color": BLUE, "shape": "hv"},
        marker={"size": 5},
        hovertemplate="%{y:.0%} of the trials have at most %{x:.4g}",
    )
