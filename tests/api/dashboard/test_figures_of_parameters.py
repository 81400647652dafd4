from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from api.dashboard.figures_of_parameters import contour, importances, parallel, rank, slice_
from studies.errors import InvalidInput
from tests.api.dashboard.factories import a_study, a_trial, figure_input, many_trials
from tuner.records import Trial


def along_learning_rate(count: int) -> list[Trial]:
    params: list[dict[str, Any]] = [{"learning_rate": 10 ** (-6 + 3 * n / count), "epochs": 1 + n % 5} for n in range(count)]
    return [a_trial(n, value=0.3 + 0.5 * n / count, params=params[n]) for n in range(count)]


def test_importances_put_the_largest_on_top() -> None:
    bars = importances(figure_input([], importances=lambda: {"epochs": 0.1, "learning_rate": 0.9})).data[0]
    assert bars.y[-1] == "learning_rate"  # plotly counts upwards
    assert list(bars.text) == ["10%", "90%"]


def test_parallel_needs_no_webgl() -> None:
    assert {trace.type for trace in parallel(figure_input(many_trials(40))).data} == {"scatter"}


def test_parallel_axes_are_the_parameters_that_vary_and_the_value() -> None:
    figure = parallel(figure_input(many_trials(40)))
    assert list(figure.layout.xaxis.ticktext) == ["learning_rate", "batch_size", "epochs", "optimizer", "momentum", "accuracy"]


def test_parallel_spreads_a_log_parameter_evenly() -> None:
    params = [{"learning_rate": 1e-6}, {"learning_rate": 1e-5}, {"learning_rate": 1e-4}]
    figure = parallel(figure_input([a_trial(n, value=0.1 * n, params=params[n]) for n in range(3)]))
    heights = {trace.customdata[0]: trace.y[0] for trace in figure.data if trace.customdata is not None}
    assert heights == {0: 0.0, 1: 0.5, 2: 1.0}


def test_parallel_labels_whole_numbers_by_whole_numbers() -> None:
    figure = parallel(figure_input([a_trial(n, value=0.1 * n, params={"epochs": n}) for n in (1, 2, 4)]))
    labels = {annotation.text: annotation.y for annotation in figure.layout.annotations if annotation.x == 0}
    assert labels == {"1": 0, "2": pytest.approx(1 / 3, abs=1e-4), "3": pytest.approx(2 / 3, abs=1e-4), "4": 1}


def test_parallel_takes_a_line_without_a_conditional_parameter_below_its_axis() -> None:
    momenta = [{}, {"momentum": 0.5}, {"momentum": 0.9}]
    params: list[dict[str, Any]] = [{"optimizer": "sgd" if momentum else "adamw"} | momentum for momentum in momenta]
    figure = parallel(figure_input([a_trial(n, value=0.1 * n, params=params[n]) for n in range(3)]))
    assert "not set" in [annotation.text for annotation in figure.layout.annotations]
    first = next(trace for trace in figure.data if trace.customdata is not None and trace.customdata[0] == 0)
    assert first.y[1] < 0


@pytest.mark.parametrize("direction, best", [("maximize", 2), ("minimize", 0)])
def test_parallel_marks_the_best(direction: str, best: int) -> None:
    given = figure_input([a_trial(n, value=0.1 * n) for n in range(3)], study=a_study(direction=direction))
    named = [trace for trace in parallel(given).data if trace.showlegend is not False]
    assert [trace.name for trace in named] == [f"best: trial {best}"]


def test_slice_uses_a_log_axis_for_a_log_parameter() -> None:
    figure = slice_(figure_input(along_learning_rate(20), x="learning_rate"))
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.meta == {"parameters": ["learning_rate", "epochs"], "x": "learning_rate"}


def test_slice_keeps_numeric_choices_in_order_of_size() -> None:
    params = [{"batch_size": size} for size in (64, 8, 16, 32)]
    figure = slice_(figure_input([a_trial(n, value=0.5, params=params[n]) for n in range(4)], x="batch_size"))
    assert list(figure.layout.xaxis.categoryarray) == ["8", "16", "32", "64"]


@pytest.mark.parametrize("draw, field", [(slice_, "x"), (contour, "x"), (contour, "y"), (rank, "y")])
def test_an_unknown_parameter_is_refused_with_the_known_ones(draw: Any, field: str) -> None:
    given = figure_input(along_learning_rate(20))
    wrong = replace(given, x="colour") if field == "x" else replace(given, y="colour")
    with pytest.raises(InvalidInput, match=rf"{field}: 'colour' is no parameter.*known: epochs, learning_rate"):
        draw(wrong)


def test_contour_interpolates_between_enough_trials() -> None:
    surface, trials = contour(figure_input(along_learning_rate(40))).data
    assert surface.type == "contour"
    assert min(map(min, surface.z)) >= 0.3 and max(map(max, surface.z)) <= 0.8
    assert surface.z[0][0] < surface.z[0][-1]
    assert len(trials.x) == 40


def test_contour_of_few_trials_or_of_levels_is_coloured_points() -> None:
    assert [trace.type for trace in contour(figure_input(along_learning_rate(5))).data] == ["scatter"]
    assert [trace.type for trace in contour(figure_input(many_trials(60), y="optimizer")).data] == ["scatter"]


def test_contour_of_one_parameter_says_what_it_needs() -> None:
    trials = [a_trial(n, value=0.5, params={"learning_rate": 10**-n}) for n in range(1, 4)]
    assert "two parameters" in contour(figure_input(trials)).layout.annotations[0].text


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_rank_gives_the_best_trial_zero(direction: str) -> None:
    points = rank(figure_input(along_learning_rate(5), study=a_study(direction=direction))).data[0]
    shades = list(points.marker.color)
    assert shades == ([1, 0.75, 0.5, 0.25, 0] if direction == "maximize" else [0, 0.25, 0.5, 0.75, 1])


@pytest.mark.parametrize(
    "value, text", [(0.0, "0"), (0.85, "0.85"), (2.94e-5, "2.9e-5"), (1e-6, "1e-6"), (64.0, "64"), (750.0, "750"), (-3e7, "-3e7")]
)
def test_tick_labels_are_short(value: float, text: str) -> None:
    params = [{"strength": value}, {"strength": value + abs(value) + 1}]
    figure = parallel(figure_input([a_trial(n, value=0.1, params=params[n]) for n in range(2)]))
    assert text in [annotation.text for annotation in figure.layout.annotations]
