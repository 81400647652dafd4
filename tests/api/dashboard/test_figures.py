from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from api.dashboard.figures import FIGURES, FigureInput, figure_json
from tests.api.dashboard.factories import a_study, a_trial, a_worker, an_attempt, figure_input, many_trials, points
from tuner.records import MetricPoint, Trial

ROOT = Path(__file__).parents[3]


def as_json(figure: go.Figure) -> dict[str, Any]:
    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is no JSON")

    parsed = json.loads(figure_json(figure), parse_constant=refuse)
    assert isinstance(parsed, dict)
    return parsed


def empty_input() -> FigureInput:
    return figure_input([], importances=dict)


@pytest.mark.parametrize("name", FIGURES)
def test_a_study_without_trials_says_so_in_words(name: str) -> None:
    figure = as_json(FIGURES[name](empty_input()))
    assert figure["data"] == []
    assert len(figure["layout"]["annotations"][0]["text"]) > 10


@pytest.mark.parametrize("name", FIGURES)
def test_trials_in_every_state_are_drawn(name: str) -> None:
    figure = as_json(FIGURES[name](figure_input(many_trials(40))))
    assert sum(len(trace["y"]) for trace in figure["data"]) > 2


@pytest.mark.parametrize("name", FIGURES)
def test_one_trial_is_enough_to_answer(name: str) -> None:
    assert as_json(FIGURES[name](figure_input([a_trial(0, value=0.5)])))["layout"]["title"]["text"]


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("state", ["failed", "waiting", "running", "pruned", "stopped"])
def test_a_study_with_only_one_state_is_answered(name: str, state: Any) -> None:
    trials = [a_trial(number, state) for number in range(3)]
    assert as_json(FIGURES[name](figure_input(trials)))["layout"]["title"]["text"]


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, 0.0])
def test_odd_numbers_never_break_a_figure_or_its_json(name: str, odd: float) -> None:
    trials = [a_trial(0, value=odd), a_trial(1, value=0.5), a_trial(2, value=odd, params={"learning_rate": odd})]
    point = MetricPoint(name="accuracy", value=odd, step=1, epoch=1.0, split="validation")
    given = figure_input(
        [*trials, a_trial(3, value=0.6)],
        metrics=lambda numbers: {n: [point] for n in numbers},
        importances=lambda: {"learning_rate": odd, "epochs": 0.5},
    )
    assert as_json(FIGURES[name](given))["layout"]["title"]["text"]


@pytest.mark.parametrize("name", FIGURES)
def test_numbers_too_large_for_a_float_column_are_answered(name: str) -> None:
    trials = [a_trial(n, value=0.1 * n, params={"learning_rate": 1e-4, "epochs": 10**30 + n}) for n in range(4)]
    assert as_json(FIGURES[name](figure_input(trials)))["layout"]["title"]["text"]


@pytest.mark.parametrize("name", FIGURES)
def test_user_text_is_not_markup(name: str) -> None:
    nasty = "<b onclick=alert(1)>&<a href='javascript:alert(1)'>x"
    params: list[dict[str, Any]] = [{"optimizer": nasty, "learning_rate": 1e-4}, {"optimizer": "sgd", "learning_rate": 1e-5}]
    trials = [a_trial(n, value=0.1 * n, params=params[n % 2], failure_kind=nasty) for n in range(4)]
    workers = {f"w{n}": a_worker(f"w{n}", host=nasty) for n in range(3)}
    on = {n: [replace(an_attempt(trials[n], f"w{n % 3}"), gpus=[nasty])] for n in range(4)}
    given = figure_input(trials, workers=lambda: workers, attempts=lambda _: on, importances=lambda: {nasty: 0.4})
    figure = as_json(FIGURES[name](given))
    figure["layout"].pop("meta", None)  # for programs; plotly does not draw it
    assert "<" not in json.dumps(figure).replace("<br>", "").replace("<extra></extra>", "")


@pytest.fixture(scope="module")
def ten_thousand() -> list[Trial]:
    return many_trials(10_000)


@pytest.mark.parametrize("name", FIGURES)
def test_ten_thousand_trials_stay_below_one_megabyte(name: str, ten_thousand: list[Trial]) -> None:
    by_number = {trial.number: trial for trial in ten_thousand}
    asked: list[int] = []

    def metrics(numbers: Any) -> dict[int, list[MetricPoint]]:
        asked.extend(numbers)
        return {n: points(by_number[n], epochs=50) for n in numbers}

    figure = FIGURES[name](figure_input(ten_thousand, metrics=metrics))
    assert len(figure_json(figure)) < 1_000_000
    assert max((len(trace.y) for trace in figure.data if trace.type == "bar" or trace.mode == "markers"), default=0) <= 2_000
    assert len(asked) <= 200


@pytest.mark.parametrize("name", ["history", "curves", "parallel", "slice", "rank", "timeline"])
def test_what_was_left_out_is_said(name: str, ten_thousand: list[Trial]) -> None:
    assert FIGURES[name](figure_input(ten_thousand)).layout.title.subtitle.text


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "pareto"])  # which says how many are beaten by none
def test_nothing_is_said_of_leaving_out_when_all_is_drawn(name: str) -> None:
    assert not FIGURES[name](figure_input(many_trials(30))).layout.title.subtitle.text


@pytest.mark.parametrize("name", FIGURES)
def test_backgrounds_are_transparent_and_the_zoom_is_kept(name: str) -> None:
    layout = FIGURES[name](figure_input(many_trials(20), study=a_study(direction="minimize"))).layout
    assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert layout.uirevision == "keep"


def test_all_of_plotly_that_figures_use_is_loaded_before_the_first_request() -> None:
    code = """
import sys
from api.dashboard.figures import FIGURES, figure_json, load_plotly
from api.dashboard.figures_of_studies import STUDY_FIGURES, StudyLine
from tests.api.dashboard.factories import START, a_study, figure_input, many_trials
load_plotly()
before = set(sys.modules)
for figure in FIGURES.values():
    for trials in (many_trials(40), []):
        figure_json(figure(figure_input(trials, importances=lambda: {"learning_rate": 0.6, "epochs": 0.4})))
for figure in STUDY_FIGURES.values():
    figure_json(figure([StudyLine(study=a_study(), trials=many_trials(9), held={})], START))
print(sorted(name for name in set(sys.modules) - before if name.startswith(("plotly", "_plotly_utils", "narwhals"))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
