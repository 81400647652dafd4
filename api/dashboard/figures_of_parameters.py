"""Figures of what the parameters do: importances, parallel coordinates, slice, contour, rank."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from api.dashboard.figure_base import (
    BLUE,
    COLORSCALE,
    GREEN,
    GREY,
    OUTLINE,
    Axis,
    FigureInput,
    axes,
    canvas,
    chosen_axis,
    empty,
    label,
    rounded,
    thinned,
)
from tuner.records import Trial

NOTHING_COMPLETED = "No trial has completed yet"
NOTHING_VARIES = "The completed trials all have the same parameters"
MAX_IMPORTANCE_TRIALS = 1_000
MAX_LINES = 300  # of parallel coordinates
SHADES = 9  # a line has one colour, so the scale comes in steps
MIN_CONTOUR_TRIALS = 12
GRID = 24  # cells of the contour on each side
MAX_CONTOUR_TRIALS = 300
NOT_SET = -0.12  # where the lines of trials without a conditional parameter cross its axis


def given_to_importances(trials: Sequence[Trial]) -> list[Trial]:
    """The completed trials that importances are computed from: enough for shares to be steady, and few enough to be quick."""
    return thinned([trial for trial in trials if trial.state == "completed"], MAX_IMPORTANCE_TRIALS)


def importances(given: FigureInput) -> go.Figure:
    """How much of the objective's variance each parameter explains."""
    title = f"Importance for {label(given.objective)}"
    shares = sorted(given.importances().items(), key=lambda item: item[1])
    shares = [(name, share) for name, share in shares if math.isfinite(share)]
    if not shares:
        return empty(title, "Importances show once a few trials have completed")
    note = f"From an even sample of {len(given.scored):,} completed trials" if len(given.scored) > MAX_IMPORTANCE_TRIALS else ""
    figure = canvas(
        title,
        note,
        xaxis={"range": [0, max(share for _, share in shares) * 1.2 or 1.0], "tickformat": ".0%"},
        yaxis={"type": "category", "automargin": True},
        height=110 + 30 * len(shares),
    )
    return figure.add_bar(
        orientation="h",
        y=[label(name) for name, _ in shares],
        x=[rounded(share) for _, share in shares],
        text=[f"{share:.0%}" for _, share in shares],
        textposition="outside",
        cliponaxis=False,
        marker={"color": BLUE, "line": OUTLINE},
        hovertemplate="%{y}: %{x:.1%}",
    )


def parallel(given: FigureInput) -> go.Figure:
    """A line for each completed trial across its parameters and its value; the bluer, the better.

    Plain lines on normalised axes: plotly's own parallel coordinates need WebGL, which the content security policy forbids.
    """
    title = "Parallel coordinates"
    found = axes(given, given.scored)
    if not given.scored or not found:
        return empty(title, NOTHING_VARIES if given.scored else NOTHING_COMPLETED)
    shown = _best_and_latest(given, MAX_LINES)
    cut = len(shown) < len(given.scored)
    note = f"The best and the latest {len(shown)} of {len(given.scored):,} completed trials" if cut else ""
    columns = [*found.values(), Axis(given.objective, log=False, levels=())]
    scales = [_scale(axis, [_value_on(given, trial, axis) for trial in shown]) for axis in columns]
    figure = canvas(
        title,
        note,
        xaxis={
            "tickvals": list(range(len(columns))),
            "ticktext": [label(axis.name, 18) for axis in columns],
            "range": [-0.35, len(columns) - 0.75],
            "showgrid": False,
            "zeroline": False,
        },
        yaxis={"visible": False, "range": [-0.18, 1.06]},
        showlegend=True,
    )
    _add_lines(figure, given, shown, columns, scales)
    _add_scales(figure, columns, scales)
    return figure.update_layout(meta={"columns": [_column(given, axis, s) for axis, s in zip(columns, scales, strict=True)]})


def _column(given: FigureInput, axis: Axis, scale: tuple[float, float]) -> dict[str, object]:
    """What a page needs to brush an axis: its scale, and the name under which trials are filtered by it."""
    return {
        "name": axis.name,
        "filter": "value" if axis.name == given.objective and axis.name not in _searched(given) else axis.name,
        "log": axis.log,
        "low": scale[0],
        "high": scale[1],
        "levels": list(axis.levels),
        "ticks": _ticks(axis, scale),
    }


def _searched(given: FigureInput) -> Collection[str]:
    return given.study.spec.parameters if isinstance(given.study.spec.parameters, Mapping) else ()


def _best_and_latest(given: FigureInput, most: int) -> list[Trial]:
    best = sorted(given.scored, key=given.badness)[: most // 2]
    taken = {trial.number for trial in best} | given.kept
    latest = [trial.number for trial in given.scored if trial.number not in taken][-(most - len(best)) :]
    return sorted((trial for trial in given.scored if trial.number in taken.union(latest)), key=given.badness)


def _value_on(given: FigureInput, trial: Trial, axis: Axis) -> float | None:
    """Where a trial crosses an axis, in the axis's own units; None if it lacks the parameter."""
    if axis.name in trial.params:
        return axis.position(trial.params[axis.name])
    return trial.value if axis.name == given.objective else None


def _scale(axis: Axis, positions: Sequence[float | None]) -> tuple[float, float]:
    """The lowest and the highest position on an axis."""
    if axis.levels:
        return 0.0, float(len(axis.levels) - 1)
    known = [position for position in positions if position is not None]
    return (min(known), max(known)) if known else (0.0, 1.0)


def _height(position: float | None, scale: tuple[float, float]) -> float:
    """0 at the foot of the axis, 1 at its top; an axis without a usable spread is crossed in its middle."""
    if position is None:
        return NOT_SET
    spread = scale[1] - scale[0]
    return round((position - scale[0]) / spread, 4) if 0 < spread < math.inf else 0.5


def _add_lines(
    figure: go.Figure, given: FigureInput, shown: Sequence[Trial], columns: Sequence[Axis], scales: Sequence[tuple[float, float]]
) -> None:
    """Lines of one shade are one trace, worst first, so that good ones lie on top; the best has a trace of its own."""
    shades = sample_colorscale(COLORSCALE, [index / (SHADES - 1) for index in range(SHADES)])
    groups: dict[int, list[Trial]] = {}
    for trial in reversed(shown[1:]):
        height = _height(trial.value, scales[-1])
        goodness = height if given.maximize else 1 - height
        groups.setdefault(round(goodness * (SHADES - 1)), []).append(trial)
    for shade in sorted(groups):
        _add_group(figure, given, groups[shade], columns, scales, shades[shade], 1.3)
    _add_group(figure, given, shown[:1], columns, scales, GREEN, 3.5)
    figure.data[-1].update(name=f"best: trial {shown[0].number}", showlegend=True)


def _add_group(
    figure: go.Figure,
    given: FigureInput,
    trials: Sequence[Trial],
    columns: Sequence[Axis],
    scales: Sequence[tuple[float, float]],
    colour: str,
    width: float,
) -> None:
    x: list[int | None] = []
    y: list[float | None] = []
    numbers: list[int | None] = []
    for trial in trials:
        x.extend([*range(len(columns)), None])
        y.extend(_height(_value_on(given, trial, axis), scale) for axis, scale in zip(columns, scales, strict=True))
        y.append(None)
        numbers.extend([trial.number] * (len(columns) + 1))
    figure.add_scatter(
        mode="lines+markers",
        x=x,
        y=y,
        customdata=numbers,
        line={"color": colour, "width": width},
        marker={"size": 3 + width},
        showlegend=False,
        opacity=0.85,
        name="",
        hovertemplate="trial %{customdata}",
    )


def _add_scales(figure: go.Figure, columns: Sequence[Axis], scales: Sequence[tuple[float, float]]) -> None:
    """An upright line for each axis, with its tick labels."""
    x: list[int | None] = []
    for index in range(len(columns)):
        x.extend([index, index, None])
    upright = [0, 1, None] * len(columns)
    figure.add_scatter(mode="lines", x=x, y=upright, line={"color": GREY, "width": 1}, hoverinfo="skip", showlegend=False)
    ticks = [(index, *tick) for index, axis in enumerate(columns) for tick in _ticks(axis, scales[index])]
    if any(NOT_SET in trace.y for trace in figure.data):
        ticks.append((0, NOT_SET, "not set"))
    for index, height, text in ticks:
        place = {"x": index, "y": height, "xanchor": "right", "xshift": -5}
        figure.add_annotation(place, text=text, showarrow=False, font={"size": 10}, borderpad=1)


def _ticks(axis: Axis, scale: tuple[float, float]) -> list[tuple[float, str]]:
    """Height and text of the labels on one axis."""
    if axis.levels:
        return [(_height(float(index), scale), label(value, 14)) for index, value in enumerate(axis.levels)][:12]
    positions = [scale[0] + (scale[1] - scale[0]) * share for share in (0, 0.25, 0.5, 0.75, 1)]
    if axis.whole and not axis.log:
        positions = [float(round(position)) for position in positions]
    texts = [_short(10**position if axis.log else position) for position in positions]
    return list(dict.fromkeys((_height(position, scale), text) for position, text in zip(positions, texts, strict=True)))


def _short(value: float) -> str:
    """Two digits: 0.85, 2.9e-5."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(exponent)}"


def slice_(given: FigureInput) -> go.Figure:
    """The value of completed trials along one parameter (`x`); the later, the bluer.

    `layout.meta.parameters` lists what can be asked for.
    """
    title = "Slice"
    found = axes(given, given.scored)
    if not given.scored or not found:
        return empty(title, NOTHING_VARIES if given.scored else NOTHING_COMPLETED)
    axis = chosen_axis(found, given.x, "x", list(found))
    trials = given.thinned([trial for trial in given.scored if axis.name in trial.params])
    figure = canvas(
        f"{label(given.objective)} by {label(axis.name)}",
        _sample_note(trials, given),
        meta={"parameters": list(found), "x": axis.name},
        xaxis=axis.layout,
        yaxis={"title": {"text": label(given.objective)}},
    )
    return figure.add_scatter(
        mode="markers",
        x=[axis.coordinate(trial.params[axis.name]) for trial in trials],
        y=[rounded(trial.value) for trial in trials],
        customdata=[trial.number for trial in trials],
        marker=_coloured([float(trial.number) for trial in trials], "trial"),
        hovertemplate="trial %{customdata}: %{y:.4g} at %{x}",
    )


def contour(given: FigureInput) -> go.Figure:
    """The value over two parameters (`x`, `y`), interpolated between the trials, with the trials on top; bluer is better."""
    return _over_two(given, "Contour")


def rank(given: FigureInput) -> go.Figure:
    """Completed trials over two parameters (`x`, `y`), coloured by their rank: 0 % is the best."""
    return _over_two(given, "Rank")


def _over_two(given: FigureInput, kind: str) -> go.Figure:
    found = axes(given, given.scored)
    if not given.scored or len(found) < 2:
        return empty(kind, "Needs completed trials in which two parameters vary" if given.scored else NOTHING_COMPLETED)
    x = chosen_axis(found, given.x, "x", [name for name in found if name != given.y])
    y = chosen_axis(found, given.y, "y", [name for name in found if name != x.name])
    trials = given.thinned([trial for trial in given.scored if x.name in trial.params and y.name in trial.params])
    figure = canvas(
        f"{kind}: {label(given.objective)} by {label(x.name)} and {label(y.name)}",
        _sample_note(trials, given),
        meta={"parameters": list(found), "x": x.name, "y": y.name},
        xaxis=x.layout,
        yaxis=y.layout,
    )
    if kind == "Rank":
        order = {trial.number: index for index, trial in enumerate(sorted(trials, key=given.badness))}
        shades = [order[trial.number] / max(len(trials) - 1, 1) for trial in trials]
        return _add_trials(figure, trials, x, y, _coloured(shades, "rank") | {"reversescale": True})
    if len(trials) < MIN_CONTOUR_TRIALS or x.levels or y.levels or x == y:
        marker = _coloured([trial.value or 0.0 for trial in trials], label(given.objective, 12))
        return _add_trials(figure, trials, x, y, marker | {"reversescale": not given.maximize})
    figure.add_trace(_surface(given, trials[-MAX_CONTOUR_TRIALS:], x, y))
    return _add_trials(figure, trials, x, y, {"color": "#FFFFFF", "size": 5, "line": {"width": 1, "color": "#000000"}})


def _sample_note(trials: Sequence[Trial], given: FigureInput) -> str:
    return f"An even sample of {len(given.scored):,} completed trials" if len(trials) < len(given.scored) else ""


def _coloured(values: Sequence[float], title: str) -> dict[str, object]:
    colorbar = {"title": {"text": title}, "thickness": 10, "outlinewidth": 0}
    shades = [rounded(value) for value in values]
    return {"color": shades, "colorscale": COLORSCALE, "showscale": True, "colorbar": colorbar, "size": 9, "line": OUTLINE}


def _add_trials(figure: go.Figure, trials: Sequence[Trial], x: Axis, y: Axis, marker: Mapping[str, object]) -> go.Figure:
    return figure.add_scatter(
        mode="markers",
        x=[x.coordinate(trial.params[x.name]) for trial in trials],
        y=[y.coordinate(trial.params[y.name]) for trial in trials],
        customdata=[trial.number for trial in trials],
        text=[f"{trial.value:.4g}" for trial in trials],
        marker=marker,
        showlegend=False,
        hovertemplate="trial %{customdata}: %{text}<br>%{x}, %{y}",
    )


def _surface(given: FigureInput, trials: Sequence[Trial], x: Axis, y: Axis) -> go.Contour:
    """Values on a grid, each the mean of all trials weighted by the inverse square of their distance (Shepard 1968)."""
    places = [(x.position(t.params[x.name]), y.position(t.params[y.name]), t.value) for t in trials]
    known = [(a, b, value) for a, b, value in places if a is not None and b is not None and value is not None]
    x_scale, y_scale = _scale(x, [a for a, _, _ in known]), _scale(y, [b for _, b, _ in known])
    near = [(_height(a, x_scale), _height(b, y_scale), value) for a, b, value in known]
    shares = [index / (GRID - 1) for index in range(GRID)]
    return go.Contour(
        x=[rounded(_at(x, x_scale, share)) for share in shares],
        y=[rounded(_at(y, y_scale, share)) for share in shares],
        z=[[rounded(_interpolated(near, a, b)) for a in shares] for b in shares],
        colorscale=COLORSCALE,
        reversescale=not given.maximize,
        contours={"coloring": "heatmap"},
        line={"width": 0.5},
        colorbar={"title": {"text": label(given.objective, 12)}, "thickness": 10, "outlinewidth": 0},
        hovertemplate="about %{z:.4g}<extra></extra>",
    )


def _at(axis: Axis, scale: tuple[float, float], share: float) -> float:
    position = scale[0] + share * (scale[1] - scale[0])
    return 10**position if axis.log else position


def _interpolated(near: Sequence[tuple[float, float, float]], x: float, y: float) -> float:
    weights = [1 / ((a - x) ** 2 + (b - y) ** 2 + 1e-4) for a, b, _ in near]
    return sum(weight * value for weight, (_, _, value) in zip(weights, near, strict=True)) / sum(weights)
