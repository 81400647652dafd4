"""Figures of how a study goes: history, learning curves, distribution of values, timeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import plotly.graph_objects as go

from api.dashboard.figure_base import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
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
    rounded,
    thinned,
)
from tuner.records import Attempt, MetricPoint, Trial

NOTHING_FINISHED = "No trial has finished yet"
MAX_CURVES = 200
MAX_CURVE_POINTS = 200
MAX_TIMELINE_TRIALS = 500
FEW_EPOCHS = 12  # each gets a tick

_DASHES = {"completed": "solid", "pruned": "dot", "running": "dash", "stopped": "dashdot", "failed": "longdash"}
# What a lease ended with: colour and hatching.
_OUTCOMES: Mapping[str, tuple[str, str]] = {
    "completed": (BLUE, ""),
    "pruned": (ORANGE, "/"),
    "running": (SKY, ""),
    "stopped": (GREY, "-"),
    "failed": (VERMILLION, "x"),
    "released": (PURPLE, "."),
    "lost": (VERMILLION, "\\"),
}


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
            figure.add_trace(_state_points(state, thinned(trials)))
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
        marker={"color": colour, "symbol": symbol, "size": 8, "line": OUTLINE, "opacity": 1 if state == "completed" else 0.7},
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
    """One metric by epoch, a line for each trial; the best stands out, pruned ones fade.

    `layout.meta.metrics` lists what can be asked for as `metric`.
    """
    metric = given.metric or given.objective
    title = f"Learning curves: {label(metric)}"
    started = [trial for trial in given.trials if trial.epoch is not None or trial.step is not None]
    chosen = _curve_trials(given, started)
    points = given.metrics([trial.number for trial in chosen])
    names = sorted({_metric_name(point) for trial_points in points.values() for point in trial_points})
    lines = {n: [p for p in trial_points if _metric_name(p) == metric] for n, trial_points in points.items()}
    if not any(lines.values()):
        message = f"Nothing was reported as {label(metric)}" if names else "No trial has reported yet"
        return empty(title, message).update_layout(meta={"metrics": names})
    note = f"The best {MAX_CURVES // 2} and the latest of {len(started):,} trials" if len(started) > len(chosen) else ""
    by_epoch = all(point.epoch is not None for line in lines.values() for point in line)
    longest = max(point.epoch or 0.0 for line in lines.values() for point in line)
    figure = canvas(
        title,
        note,
        meta={"metrics": names},
        xaxis={"title": {"text": "epoch" if by_epoch else "step"}, "dtick": 1 if by_epoch and longest <= FEW_EPOCHS else None},
        yaxis={"title": {"text": label(metric)}},
    )
    seen: set[str] = set()
    for trial in chosen:
        if lines.get(trial.number):
            figure.add_trace(_curve(given, trial, thinned(lines[trial.number], MAX_CURVE_POINTS), by_epoch, seen))
    return figure


def _metric_name(point: MetricPoint) -> str:
    return point.name if point.split == "validation" else f"{point.split}/{point.name}"


def _curve_trials(given: FigureInput, started: Sequence[Trial]) -> list[Trial]:
    """The best and the latest, the best trial drawn last and so on top."""
    if len(started) > MAX_CURVES:
        best = sorted(given.scored, key=given.badness)[: MAX_CURVES // 2]
        taken = {trial.number for trial in best}
        latest = [trial for trial in started if trial.number not in taken][-(MAX_CURVES - len(best)) :]
        started = sorted([*best, *latest], key=lambda trial: trial.number)
    return sorted(started, key=lambda trial: trial is given.best)


def _curve(given: FigureInput, trial: Trial, points: Sequence[MetricPoint], by_epoch: bool, seen: set[str]) -> go.Scatter:
    """One trial's line; `seen` collects the groups that the legend has already."""
    best = trial is given.best
    colour = GREEN if best else STATE_MARKS.get(trial.state, (GREY, ""))[0]
    group = "best" if best else trial.state
    first = group not in seen
    seen.add(group)
    return go.Scatter(
        name=group,
        legendgroup=group,
        showlegend=first,
        mode="lines+markers",
        x=[rounded(point.epoch if by_epoch else point.step) for point in points],
        y=[rounded(point.value) for point in points],
        meta=trial.number,
        line={"color": colour, "width": 3 if best else 1.5, "dash": "solid" if best else _DASHES.get(trial.state, "solid")},
        marker={"size": 8 if best else 4, "symbol": "star" if best else "circle"},
        opacity={"best": 1.0, "completed": 0.7, "running": 0.9}.get(group, 0.45),
        hovertemplate=f"trial {trial.number}: %{{y:.4g}} at %{{x:.3g}}",
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


def timeline(given: FigureInput) -> go.Figure:
    """Who trained what when: a bar for each attempt, a row for each worker, or for each of those it trained side by side."""
    title = "Timeline of workers"
    started = [trial for trial in given.trials if trial.started_at is not None]
    shown = started[-MAX_TIMELINE_TRIALS:]
    attempts = given.attempts([trial.number for trial in shown])
    bars = [(trial.number, attempt) for trial in shown for attempt in attempts.get(trial.number, ())]
    if not bars:
        return empty(title, "No trial has started yet")
    note = f"The latest {len(shown)} of {len(started):,} trials" if len(started) > len(shown) else ""
    rows = _rows(given, [attempt for _, attempt in bars])
    figure = canvas(
        title,
        note,
        barmode="overlay",
        bargap=0.3,
        height=130 + 34 * len(set(rows.values())),
        xaxis={"type": "date"},
        yaxis={"type": "category", "autorange": "reversed", "automargin": True, "categoryarray": sorted(set(rows.values()))},
    )
    for outcome in _OUTCOMES:
        matching = [(number, attempt) for number, attempt in bars if (attempt.outcome or "running") == outcome]
        if matching:
            figure.add_trace(_bars(given, outcome, matching, rows))
    return figure


def _rows(given: FigureInput, attempts: Sequence[Attempt]) -> dict[str, str]:
    """Attempt id → the name of its row. Attempts of one worker that overlap get rows of their own, as few as will do."""
    busy_until: dict[str, list[datetime]] = {}
    lanes: dict[str, tuple[str, int]] = {}
    for attempt in sorted(attempts, key=lambda attempt: attempt.granted_at):
        ends = busy_until.setdefault(attempt.worker_id, [])
        lane = next((index for index, end in enumerate(ends) if end <= attempt.granted_at), len(ends))
        ends[lane : lane + 1] = [attempt.ended_at or given.now]
        lanes[attempt.id] = (attempt.worker_id, lane)
    names = {worker_id: label(given.workers.get(worker_id, worker_id), 24) for worker_id in busy_until}
    return {
        attempt_id: f"{names[worker_id]} · {lane + 1}" if len(busy_until[worker_id]) > 1 else names[worker_id]
        for attempt_id, (worker_id, lane) in lanes.items()
    }


def _bars(given: FigureInput, outcome: str, bars: Sequence[tuple[int, Attempt]], rows: Mapping[str, str]) -> go.Bar:
    colour, pattern = _OUTCOMES[outcome]
    seconds = [((attempt.ended_at or given.now) - attempt.granted_at).total_seconds() for _, attempt in bars]
    hover = [f"trial {number}, attempt {a.attempt}: {length:.1f} s" for (number, a), length in zip(bars, seconds, strict=True)]
    marker: dict[str, Any] = {"color": colour, "line": OUTLINE, "pattern": {"shape": pattern, "solidity": 0.3}}
    return go.Bar(
        name=outcome,
        orientation="h",
        y=[rows[attempt.id] for _, attempt in bars],
        base=[attempt.granted_at.isoformat(timespec="milliseconds") for _, attempt in bars],
        x=[round(length * 1000) for length in seconds],  # plotly measures the length of a bar on a date axis in milliseconds
        customdata=[number for number, _ in bars],
        text=[f"{number}" for number, _ in bars],
        hovertext=hover,
        hovertemplate="%{hovertext}",
        marker=marker,
        textposition="inside",
        insidetextanchor="middle",
    )
