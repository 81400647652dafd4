from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import plotly.graph_objects as go
import pytest

from api.dashboard.figures_of_progress import curves, edf, history
from studies.errors import InvalidInput
from tests.api.dashboard.factories import START, a_study, a_trial, figure_input, many_trials, points


def trace(figure: go.Figure, name: str) -> Any:
    found = [trace for trace in figure.data if trace.name == name]
    assert len(found) == 1, f"{name!r} is not once among {[trace.name for trace in figure.data]}"
    return found[0]


def test_history_gives_each_state_its_own_colour_and_shape() -> None:
    figure = history(figure_input(many_trials(60)))
    completed, pruned = trace(figure, "completed"), trace(figure, "pruned")
    assert completed.marker.symbol != pruned.marker.symbol
    assert completed.marker.color != pruned.marker.color


def test_best_so_far_only_rises_and_reaches_the_last_trial() -> None:
    trials = [a_trial(n, value=value) for n, value in enumerate([0.4, 0.3, 0.6, 0.5])] + [a_trial(4, "pruned", 0.9)]
    line = trace(history(figure_input(trials)), "best so far")
    assert list(line.x) == [0, 2, 4]
    assert list(line.y) == [0.4, 0.6, 0.6]


def test_best_so_far_falls_when_minimizing() -> None:
    trials = [a_trial(n, value=value) for n, value in enumerate([0.4, 0.3, 0.6])]
    line = trace(history(figure_input(trials, study=a_study(direction="minimize"))), "best so far")
    assert list(line.y) == [0.4, 0.3, 0.3]


def test_history_draws_the_scores_to_beat() -> None:
    figure = history(figure_input([a_trial(0, value=0.71, origin="default"), a_trial(1, value=0.8)]))
    assert set(trace(figure, "majority class").y) == {0.225}
    assert set(trace(figure, "untuned default").y) == {0.71}


def test_trials_without_a_value_lie_along_the_lower_edge() -> None:
    rug = trace(history(figure_input([a_trial(0, value=0.5), a_trial(1, "failed", failure_kind="oom")])), "without a value")
    assert list(rug.x) == [1]
    assert list(rug.text) == ["failed, oom"]


def test_curves_show_the_metric_asked_for_and_list_the_others() -> None:
    trials = [a_trial(0, value=0.6), a_trial(1, value=0.9)]
    figure = curves(figure_input(trials, metric="train/loss"))
    assert figure.layout.meta == {"metrics": ["accuracy", "train/loss"]}
    assert figure.layout.yaxis.title.text == "train/loss"
    assert len(figure.data) == 2


def test_the_best_curve_stands_out_and_lies_on_top() -> None:
    figure = curves(figure_input([a_trial(0, value=0.6), a_trial(1, value=0.9), a_trial(2, "pruned", 0.2)]))
    best = figure.data[-1]
    assert (best.name, set(best.customdata)) == ("best", {1})
    assert best.line.width > max(line.line.width for line in figure.data[:-1])
    assert best.opacity > next(line.opacity for line in figure.data if line.name == "pruned")


def test_curves_list_the_metrics_when_nothing_was_reported_under_the_name() -> None:
    figure = curves(figure_input([a_trial(0, value=0.6)], metric="bleu"))
    assert figure.layout.annotations[0].text == "Nothing was reported as bleu"
    assert figure.layout.meta == {"metrics": ["accuracy", "train/loss"]}


def test_curves_go_by_step_when_an_epoch_is_unknown() -> None:
    trial = a_trial(0, value=0.6)
    unknown = [point.__class__(**(vars(point) | {"epoch": None})) for point in points(trial)]
    figure = curves(figure_input([trial], metrics=lambda numbers: {0: unknown}))
    assert figure.layout.xaxis.title.text == "step"
    assert list(figure.data[0].x) == [30, 60, 90]


def test_curves_of_a_large_study_keep_the_best_and_the_latest() -> None:
    trials = [a_trial(number, value=0.9 if number == 5 else 0.5) for number in range(500)]
    drawn = {number for line in curves(figure_input(trials, kept=frozenset({77}))).data for number in line.customdata}
    assert len(drawn) == 101
    assert {5, 77, 499} <= drawn


def test_curves_go_by_time_since_the_start() -> None:
    trial = a_trial(0, value=0.6)
    timed = [replace(point, reported_at=START + timedelta(seconds=7 * index)) for index, point in enumerate(points(trial))]
    figure = curves(figure_input([trial], x="time", metrics=lambda numbers: {0: timed}))
    assert list(figure.data[0].x) == [0, 7, 14]
    assert figure.layout.xaxis.title.text == "seconds since the start"
    assert curves(figure_input([trial], x="step")).layout.xaxis.title.text == "step"
    with pytest.raises(InvalidInput, match="unknown axis 'epochs'"):
        curves(figure_input([trial], x="epochs"))


def test_lines_of_one_state_are_apart() -> None:
    figure = curves(figure_input([a_trial(0, value=0.6), a_trial(1, "pruned", 0.3), a_trial(2, "pruned", 0.2)]))
    pruned = next(line for line in figure.data if line.name == "pruned")
    assert list(pruned.customdata) == [1, 1, 1, 1, 2, 2, 2]
    assert pruned.y[3] is None


def test_edf_climbs_to_all_trials() -> None:
    line = edf(figure_input([a_trial(0, value=0.6), a_trial(1, value=0.2), a_trial(2, "pruned", 0.1)])).data[0]
    assert list(line.x) == [0.2, 0.6]
    assert list(line.y) == [0.5, 1.0]
